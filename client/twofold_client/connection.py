"""The way to a Twofold system: a channel to its command server and one to its query server."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from twofold.v1.options_pb2 import query
from twofold_client.interceptors import CarriesSession, StreamsInSession
from twofold_client.session import Session

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """How a client calls."""

    timeout: float | None = 30.0
    """Seconds for a unary call that gives no timeout itself; None: no deadline."""
    attempts: int = 4
    """How often a call is tried while servers are UNAVAILABLE, 1 to 5; 1: no retries."""
    max_receive_bytes: int = 64 * 1024 * 1024
    """The largest answer that is taken."""
    credentials: grpc.ChannelCredentials | None = None
    """For TLS; None: plain text."""


class Client:
    """A connected client; made by ``connect``."""

    def __init__(
        self, *, command_address: str, query_address: str, config: ClientConfig, session: Session
    ) -> None:
        self._session = ContextVar("twofold_session", default=session)
        self.commands = self._channel(command_address, config, reads=False)
        """The channel to the command server, for stubs that ``stub`` cannot place."""
        self.queries = self._channel(query_address, config, reads=True)
        """The channel to the query server, likewise."""

    def stub(self, stub: Callable[[grpc.aio.Channel], S]) -> S:
        """A generated stub on the right channel: query services on the query server's, all others on the
        command server's."""
        return stub(self.queries if _answers_queries(stub) else self.commands)

    @property
    def current_session(self) -> Session:
        """The session that a call made here and now would belong to."""
        return self._session.get()

    @contextmanager
    def session(
        self, *, actor: str = "", correlation_id: str = "", consistency_token: str = ""
    ) -> Iterator[Session]:
        """Calls inside the block, and in tasks started there, belong to a session of their own; for a
        process that acts for many. Raises ValueError for text that does not fit in metadata."""
        session = Session(actor=actor, correlation_id=correlation_id, consistency_token=consistency_token)
        before = self._session.set(session)
        try:
            yield session
        finally:
            self._session.reset(before)

    async def ready(self) -> None:
        """Wait until both servers can be reached."""
        await asyncio.gather(self.commands.channel_ready(), self.queries.channel_ready())

    async def close(self) -> None:
        """Close both channels; calls under way are cancelled."""
        await asyncio.gather(self.commands.close(), self.queries.close())

    def _channel(self, address: str, config: ClientConfig, *, reads: bool) -> grpc.aio.Channel:
        interceptors = [
            CarriesSession(session=self._session.get, reads=reads, timeout=config.timeout),
            StreamsInSession(session=self._session.get, reads=reads),
        ]
        options = _options(config)
        if config.credentials is None:
            return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
        return grpc.aio.secure_channel(
            address, config.credentials, options=options, interceptors=interceptors
        )


@asynccontextmanager
async def connect(
    command_address: str = "127.0.0.1:50051",
    query_address: str = "127.0.0.1:50052",
    *,
    actor: str = "",
    correlation_id: str = "",
    consistency_token: str = "",
    config: ClientConfig | None = None,
) -> AsyncIterator[Client]:
    """Open channels for as long as the block lasts; nothing is connected before the first call.

    ``actor``, ``correlation_id`` and ``consistency_token`` are those of the client's first session.
    """
    session = Session(actor=actor, correlation_id=correlation_id, consistency_token=consistency_token)
    client = Client(
        command_address=command_address,
        query_address=query_address,
        config=config or ClientConfig(),
        session=session,
    )
    try:
        yield client
    finally:
        await client.close()


def _options(config: ClientConfig) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", config.max_receive_bytes),
        ("grpc.enable_retries", int(config.attempts > 1)),
        (
            "grpc.service_config",
            json.dumps({"methodConfig": [_retries(config)] if config.attempts > 1 else []}),
        ),
    ]


def _retries(config: ClientConfig) -> dict[str, Any]:
    # No `timeout` here: it fires up to a second early (grpc issues 34547 and 40633).
    return {
        "name": [{}],
        "retryPolicy": {
            "maxAttempts": config.attempts,
            "initialBackoff": "0.1s",
            "maxBackoff": "2s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }


def _answers_queries(stub: Any) -> bool:
    messages = importlib.import_module(stub.__module__.removesuffix("_grpc"))
    service = messages.DESCRIPTOR.services_by_name[stub.__name__.removesuffix("Stub")]
    return any(method.GetOptions().HasExtension(query) for method in service.methods)
