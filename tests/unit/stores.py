"""An event store in memory whose appends a test holds back, or lets fail."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from twofold_server.errors import Unavailable
from twofold_server.event_store.appending import Append, AppendOutcome
from twofold_server.event_store.memory import MemoryEventStore

AWAY = Unavailable("the store is away", reason="STORE_UNAVAILABLE")


class ControlledStore(MemoryEventStore):
    """A MemoryEventStore that a test can hold and break."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        """How many appends came together, batch by batch."""
        self.failures: deque[Exception | None] = deque()
        """What the next batches raise; None lets one through."""
        self.fails_after_writing = False
        """Whether a failing batch is written all the same, as when a connection breaks while committing."""
        self._released = asyncio.Event()
        self._released.set()
        self._arrived = asyncio.Event()

    def hold(self) -> None:
        """Batches wait from now on."""
        self._released.clear()
        self._arrived.clear()

    def release(self) -> None:
        """Batches go through again."""
        self._released.set()

    async def batch_waits(self) -> None:
        """Wait until a batch has come and is held."""
        await self._arrived.wait()

    async def append(self, batch: Sequence[Append]) -> list[AppendOutcome]:
        """See EventStore."""
        self.batches.append(len(batch))
        self._arrived.set()
        await self._released.wait()
        await asyncio.sleep(0)  # as with any real store, the event loop turns meanwhile
        failure = self.failures.popleft() if self.failures else None
        if failure is None:
            return await super().append(batch)
        if self.fails_after_writing:
            await super().append(batch)
        raise failure


async def decided() -> None:
    """Let everything that can go on go on, so that what is left waits for its commit."""
    for _ in range(20):
        await asyncio.sleep(0)
