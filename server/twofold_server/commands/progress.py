"""How far projections are, as the command server hears it: for ``wait_for``, and for back-pressure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

SUBJECT = "twofold.progress.*"
_RETRY_SECONDS = 0.25


class _Notice(msgspec.Struct):
    log_id: str
    position: int


class ProjectionProgress:
    """The position of each projection of one log; projectors repeat it about every second."""

    def __init__(self, log_id: str) -> None:
        self._log_id = log_id
        self._positions: dict[str, int] = {}
        self._heard = asyncio.Condition()

    @property
    def positions(self) -> Mapping[str, int]:
        """The last known position of each projection that was heard of."""
        return self._positions

    async def advance(self, projection: str, log_id: str, position: int) -> None:
        """Take in how far a projection is."""
        if log_id == self._log_id:
            self._positions[projection] = position
            async with self._heard:
                self._heard.notify_all()

    async def reach(self, projection: str, position: int, seconds: float) -> bool:
        """Wait until a projection has applied a position, at most so many seconds; whether it has."""

        def reached() -> bool:
            return self._positions.get(projection, 0) >= position

        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)), self._heard:
                await self._heard.wait_for(reached)
        return reached()


@asynccontextmanager
async def hearing(client: Client, progress: ProjectionProgress) -> AsyncIterator[None]:
    """Hear notices until the block ends, from the moment on that NATS is there."""

    async def on_notice(message: Msg) -> None:
        with suppress(msgspec.MsgspecError):
            notice = msgspec.json.decode(message.data, type=_Notice)
            await progress.advance(message.subject.rpartition(".")[2], notice.log_id, notice.position)

    async def subscribe() -> None:
        while True:
            with suppress(nats.errors.Error):
                if client.is_connected:
                    await client.subscribe(SUBJECT, cb=on_notice)
                    return
            await asyncio.sleep(_RETRY_SECONDS)

    task = asyncio.create_task(subscribe())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def too_far_behind(limits: Mapping[str, int], positions: Mapping[str, int], head: int) -> str:
    """Which projection is further behind the log than its limit, in plain words; empty for none.

    One that was never heard of counts as being where its limit lets it: it may just not run yet.
    """
    for projection, limit in limits.items():
        behind = head - positions.get(projection, head)
        if behind > limit:
            return f"the read model {projection} is {behind} events behind, the limit is {limit}"
    return ""
