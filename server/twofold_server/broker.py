"""A NATS client for hints and notices: it connects when it can, and nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

Handler = Callable[[str, bytes], Awaitable[None]]
"""Takes the subject and the data of a message."""

_LOOK_SECONDS = 0.25
_RECONNECT_SECONDS = 1
_CLOSE_SECONDS = 2.0


@asynccontextmanager
async def nats_client(
    servers: Sequence[str], *, name: str, on_loss: Callable[[], None] = lambda: None
) -> AsyncIterator[Client]:
    """A client that connects in the background, for as long as it takes, and again after each loss.

    ``on_loss`` is called when the connection is lost: what is sent from then on is not heard.
    """
    log = structlog.get_logger().bind()
    client = Client()

    async def on_error(error: Exception) -> None:
        log.debug("nats", error=str(error) or type(error).__name__)

    async def on_disconnect() -> None:
        on_loss()

    connecting = asyncio.create_task(
        client.connect(
            list(servers),
            name=name,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_SECONDS,
            ping_interval=10,
            pending_size=-1,  # nothing is kept for later: a notice that comes late is worth nothing
        )
    )
    try:
        yield client
    finally:
        # An attempt under way may end by itself: cancelled in its midst, nats-py may leave its socket open.
        await asyncio.wait([connecting], timeout=_LOOK_SECONDS)
        while not connecting.done():  # on Python 3.11 a wait_for of nats-py may swallow a cancellation
            connecting.cancel()
            await asyncio.wait([connecting], timeout=_LOOK_SECONDS)
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await connecting
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()


@asynccontextmanager
async def hearing(client: Client, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Hear core NATS subjects until the block ends, from the moment on that NATS is there.

    After each reconnect the client subscribes again by itself. What a handler cannot decode it passes over.
    """

    async def subscribe(subject: str, handler: Handler) -> None:
        async def on_message(message: Msg) -> None:
            with contextlib.suppress(msgspec.MsgspecError):
                await handler(message.subject, message.data)

        while True:
            with contextlib.suppress(nats.errors.Error):
                if client.is_connected:
                    await client.subscribe(subject, cb=on_message)
                    return
            await asyncio.sleep(_LOOK_SECONDS)

    tasks = [asyncio.create_task(subscribe(subject, handler)) for subject, handler in handlers.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
