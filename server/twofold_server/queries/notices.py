"""What is heard on core NATS: how far projections are, and how long the log is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from twofold_server.queries.positions import Positions

PROGRESS = "twofold.progress.*"
HEAD = "twofold.head"
_RETRY_SECONDS = 0.25


class _Progress(msgspec.Struct):
    log_id: str
    position: int
    head: int = 0


class _Head(msgspec.Struct):
    log_id: str
    position: int


@asynccontextmanager
async def hearing(client: Client, positions: Positions) -> AsyncIterator[None]:
    """Hear notices until the block ends, from the moment on that NATS is there."""
    task = asyncio.create_task(_subscribe(client, positions))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _subscribe(client: Client, positions: Positions) -> None:
    """Subscribe once; the client does it again after each reconnect."""

    async def on_progress(message: Msg) -> None:
        with contextlib.suppress(msgspec.MsgspecError):
            heard = msgspec.json.decode(message.data, type=_Progress)
            projection = message.subject.rpartition(".")[2]
            positions[projection].heard(heard.log_id, heard.position, heard.head)

    async def on_head(message: Msg) -> None:
        with contextlib.suppress(msgspec.MsgspecError):
            heard = msgspec.json.decode(message.data, type=_Head)
            positions.heard_head(heard.log_id, heard.position)

    for subject, callback in ((PROGRESS, on_progress), (HEAD, on_head)):
        while True:
            try:
                if client.is_connected:
                    await client.subscribe(subject, cb=callback)
                    break
            except nats.errors.Error:
                pass  # lost again just now; the next round waits for it
            await asyncio.sleep(_RETRY_SECONDS)
