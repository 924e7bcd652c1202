"""How far each projection is, as far as this process has heard; who waits for a position is woken."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable
from functools import partial

from sqlalchemy import Connection

from twofold_server.errors import TwofoldError
from twofold_server.queries.read_store import ReadStore
from twofold_server.queries.snapshots import Checkpoint, ReadCheckpoint

LOOK_SECONDS = 0.15
"""How often the checkpoint is looked at while somebody waits: what a lost notice costs at most."""


class Position:
    """What is known of one projection; it may be behind the truth, never ahead for long."""

    def __init__(self, look: Callable[[], Awaitable[Checkpoint | None]]) -> None:
        """``look`` reads the checkpoint; it may raise TwofoldError."""
        self._look = look
        self.log_id = ""
        self.position = 0
        self._head = 0
        self._behind_since: float | None = None
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._looking: asyncio.Task[None] | None = None

    @property
    def head(self) -> int:
        """The position of the log's last event, as far as is known."""
        return self._head

    def heard(self, log_id: str, position: int, head: int) -> None:
        """Take in a notice; of another log than the read store's it means nothing."""
        if log_id == self.log_id:
            self._head = max(self._head, head, position)
            self._advance(position)

    def saw(self, checkpoint: Checkpoint, *, known_before: int) -> None:
        """Take in what a read transaction saw, begun when ``known_before`` was known.

        That is the truth where it contradicts: the store was replaced by an older one, or another log's.
        """
        if checkpoint.log_id != self.log_id:
            self.log_id, self.position, self._head = checkpoint.log_id, 0, 0
        elif checkpoint.position < known_before:
            self.position = checkpoint.position
        self._head = max(self._head, checkpoint.head, checkpoint.position)
        self._advance(checkpoint.position)

    def lag(self, checkpoint: Checkpoint) -> tuple[float, int]:
        """How far a snapshot is behind the log, in seconds and in positions, as far as is known.

        The time is at most that since the last event that was applied, and at most that since the log
        was first heard to be ahead: the one is right while events flow, the other after a quiet hour.
        """
        positions = max(0, self._head - checkpoint.position)
        if not positions:
            return 0.0, 0
        bounds = [time.time() - checkpoint.recorded_at / 1e6] if checkpoint.recorded_at else []
        if self._behind_since is not None:
            bounds.append(time.monotonic() - self._behind_since)
        return max(0.0, min(bounds, default=0.0)), positions

    async def look(self) -> None:
        """Read the checkpoint; raises TwofoldError."""
        known_before = self.position
        checkpoint = await self._look()
        if checkpoint is not None:
            self.saw(checkpoint, known_before=known_before)

    async def reach(self, wanted: int, seconds: float) -> None:
        """Wait until the projection is known to have reached a position, at most so many seconds."""
        if self.position >= wanted or seconds <= 0:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (wanted, next(self._order), reached))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_while_awaited())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await reached

    async def close(self) -> None:
        """Stop looking; who still waits is left to its timeout."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def _advance(self, position: int) -> None:
        self.position = max(self.position, position)
        if self.position >= self._head:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = time.monotonic()
        while self._waiting and self._waiting[0][0] <= self.position:
            reached = heapq.heappop(self._waiting)[2]
            if not reached.done():
                reached.set_result(None)

    async def _look_while_awaited(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(LOOK_SECONDS)
                with contextlib.suppress(TwofoldError):
                    await self.look()
                self._waiting = [waiter for waiter in self._waiting if not waiter[2].done()]
                heapq.heapify(self._waiting)
        finally:
            self._looking = None


class Positions:
    """What is known of every projection."""

    def __init__(self, *, store: ReadStore, read_checkpoint: ReadCheckpoint) -> None:
        self._store = store
        self._read_checkpoint = read_checkpoint
        self._known: dict[str, Position] = {}

    def __getitem__(self, projection: str) -> Position:
        """What is known of one projection."""
        known = self._known.get(projection)
        if known is None:
            work = partial(_flipped, self._read_checkpoint, projection)
            known = self._known[projection] = Position(partial(self._store.read, work))
        return known

    def heard_head(self, log_id: str, head: int) -> None:
        """Take in how long the log is."""
        for known in self._known.values():
            known.heard(log_id, 0, head)

    async def close(self) -> None:
        """Stop looking."""
        for known in self._known.values():
            await known.close()


def _flipped(read_checkpoint: ReadCheckpoint, projection: str, connection: Connection) -> Checkpoint | None:
    return read_checkpoint(connection, projection)
