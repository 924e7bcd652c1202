"""One stream of the log, over gRPC from the command server's EventService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc

from twofold.v1.event_service_pb2 import ReadStreamRequest
from twofold_server.errors import Unavailable
from twofold_server.event_store.envelope import from_proto
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.remote import LOG_ID, event_service

ANSWER_SECONDS = 10.0
"""How long a stream may take to come, unless the caller has less time."""

TRIES = 3
"""How often it is asked for its log id. Where a call is refused at once, gRPC's client now and then (1 in
200) drops the metadata; what was said before is as good, so only the first answers may be in vain."""


class Stream(NamedTuple):
    """All events of one aggregate."""

    log_id: str
    """The log that has them."""
    events: list[RecordedEvent]
    """The oldest first; none where there is no such stream."""


class StreamLog:
    """Reads streams through a channel to the command server."""

    def __init__(self, service: Any) -> None:
        """``service`` is a stub of EventService."""
        self._stub = service
        self._log_id = ""

    async def read(self, stream_name: str, seconds: float | None) -> Stream:
        """All events of a stream; raises Unavailable where the command server does not send them in time."""
        wait = ANSWER_SECONDS if seconds is None else max(0.0, min(seconds, ANSWER_SECONDS))
        for _ in range(TRIES):
            log_id, events = await self._ask(ReadStreamRequest(stream_name=stream_name), wait)
            self._log_id = log_id or self._log_id
            if self._log_id:
                return Stream(self._log_id, events)
        raise _away(f"it does not state its log id in metadata {LOG_ID}")

    async def _ask(self, request: ReadStreamRequest, seconds: float) -> tuple[str, list[RecordedEvent]]:
        call = self._stub.ReadStream(request, timeout=seconds)
        try:
            return await _read(call)
        except grpc.aio.AioRpcError as error:
            raise _away(error.details() or error.code().name) from error
        except asyncio.CancelledError:
            call.cancel()
            raise


async def _read(call: Any) -> tuple[str, list[RecordedEvent]]:
    log_id = str((await call.initial_metadata()).get(LOG_ID) or "")
    events: list[RecordedEvent] = []
    try:
        async for answer in call:
            events += map(from_proto, answer.events)
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
    return log_id, events


def _away(why: str) -> Unavailable:
    return Unavailable(
        f"the command server, which keeps the log, does not answer: {why}; retry shortly",
        reason="EVENT_LOG_UNAVAILABLE",
    )


@asynccontextmanager
async def open_stream_log(address: str) -> AsyncIterator[StreamLog]:
    """The log of the command server at host:port, which need not be there yet."""
    async with event_service(address) as service:
        yield StreamLog(service)
