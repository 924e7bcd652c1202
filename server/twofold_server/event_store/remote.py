"""The log of another process: a channel to the EventService of the command server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from twofold.v1.event_service_pb2_grpc import EventServiceStub

LOG_ID = "twofold-log-id"
"""Initial metadata of every EventService call: the id of the log."""

_OPTIONS = [
    # By default gRPC waits up to two minutes before it tries a server again that was away.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A batch is bounded by the number of its events, not by their size.
    ("grpc.max_receive_message_length", -1),
]


@asynccontextmanager
async def event_service(address: str) -> AsyncIterator[EventServiceStub]:
    """The EventService at host:port, which need not be there yet."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        yield EventServiceStub(channel)
