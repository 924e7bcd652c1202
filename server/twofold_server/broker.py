"""A NATS client for hints and notices: it connects when it can, and nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from nats.aio.client import Client

_RECONNECT_SECONDS = 1
_CLOSE_SECONDS = 2.0


@asynccontextmanager
async def nats_client(servers: Sequence[str], *, name: str) -> AsyncIterator[Client]:
    """A client that connects in the background, for as long as it takes, and again after each loss."""
    log = structlog.get_logger().bind()
    client = Client()

    async def on_error(error: Exception) -> None:
        log.debug("nats", error=str(error) or type(error).__name__)

    connecting = asyncio.create_task(
        client.connect(
            list(servers),
            name=name,
            error_cb=on_error,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_SECONDS,
            ping_interval=10,
            pending_size=-1,  # nothing is kept for later: a notice that comes late is worth nothing
        )
    )
    try:
        yield client
    finally:
        connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await connecting
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()
