"""What every call carries along: the session's token, correlation id and actor, a request id, a deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc.aio import Metadata, UnaryStreamClientInterceptor, UnaryUnaryClientInterceptor

from twofold_client.request_ids import with_request_id
from twofold_client.session import TOKEN, Session


class CarriesSession(UnaryUnaryClientInterceptor):
    """Tells unary calls of their session, and the session of what they saw."""

    def __init__(self, *, session: Callable[[], Session], reads: bool, timeout: float | None) -> None:
        self._session = session
        self._reads = reads
        self._timeout = timeout

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """See grpc.aio."""
        session = self._session()
        details = _told(client_call_details, session, reads=self._reads)
        if details.timeout is None:
            details = details._replace(timeout=self._timeout)
        call = await continuation(details, request if self._reads else with_request_id(request))
        await call  # rather than its metadata alone: if we are cancelled here, so is the call
        session.saw((await call.trailing_metadata()).get(TOKEN, ""))
        return call


class StreamsInSession(UnaryStreamClientInterceptor):
    """Tells calls that answer with a stream of their session."""

    def __init__(self, *, session: Callable[[], Session], reads: bool) -> None:
        self._session = session
        self._reads = reads

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """See grpc.aio."""
        return await continuation(_told(client_call_details, self._session(), reads=self._reads), request)


def _told(details: Any, session: Session, *, reads: bool) -> Any:
    """What the caller gave with the call itself goes before what the session says."""
    given = tuple(details.metadata or ())
    keys = {key for key, _ in given}
    ours = [(key, value) for key, value in session.metadata(reads=reads) if key not in keys]
    return details._replace(metadata=Metadata(*given, *ours))
