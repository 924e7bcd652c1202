"""A walk through the whole log: it folds every event into rows on the side, and counts them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from typing import TypeVar

from twofold_server.errors import Unavailable
from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import Projection
from twofold_server.projections.handlers import Handlers
from twofold_server.projections.proof.replay import Watcher
from twofold_server.projections.proof.scratch import Scratch, ScratchRows
from twofold_server.projections.proof.shapes import Key, Shape, Values
from twofold_server.projections.proof.stored import Stand
from twofold_server.projections.sources import EventLog, LogBatch

T = TypeVar("T")
PIECE = 10_000
"""Events that one call to the log asks for."""


class Walk:
    """Goes from stand to stand of the read model, always forwards."""

    def __init__(
        self, *, projection: Projection, handlers: Handlers, log: EventLog, scratch: Scratch
    ) -> None:
        self.projection = projection.name
        """Whose read model it is."""
        self._handlers = handlers
        self._log = log
        self._scratch = scratch
        self._left_out: frozenset[int] = frozenset()
        self._build = 0
        self._watched: tuple[Shape, Key, Watcher] | None = None
        self.position = 0
        """How far it is."""
        self.counts: Counter[str] = Counter()
        """How many events of each type, by today's name, were passed."""

    def watch(self, shape: Shape, key: Key, watcher: Watcher) -> None:
        """Tell of each event that changes this row."""
        self._watched = shape, key, watcher

    async def to(self, stand: Stand) -> AsyncIterator[int]:
        """Go on to a stand; gives the position from time to time.

        Raises LogAway, and Unavailable where another build has been switched to meanwhile.
        """
        self._build = self._build or stand.checkpoint.build
        if self._build != stand.checkpoint.build or stand.position < self.position:
            raise Unavailable(
                "queries read another build meanwhile; verify the read model again", reason="BUILD_SWITCHED"
            )
        released, self._left_out = self._left_out - stand.left_out, stand.left_out
        for position in sorted(released):
            await self._pass(await self._read_one(position, stand))
        while self.position < stand.position:
            async with aclosing(self._log.read(self.position, limit=self._piece(stand))) as batches:
                async for batch in batches:
                    _check(batch, stand)
                    self.counts.update(event.type_name for event in batch.events)
                    await self._pass(batch.events)
                    self.position = batch.events[-1].position
                    yield self.position

    async def go(self, stand: Stand) -> None:
        """Go on to a stand, and tell nothing."""
        async for _ in self.to(stand):
            pass

    async def at(self, stand: Stand, shape: Shape, keys: Collection[Key]) -> dict[Key, Values]:
        """See Truth: goes on to the stand first."""
        await self.go(stand)
        return await in_thread(lambda: self._scratch.read(shape, keys))

    async def see(self, shape: Shape, keys: Collection[Key]) -> None:
        """Note that these rows were compared."""
        await in_thread(lambda: self._scratch.see(shape, keys))

    async def unseen(self, shape: Shape, limit: int) -> list[Key]:
        """Keys of rows that were not compared yet."""
        return await in_thread(lambda: self._scratch.unseen(shape, limit))

    def _piece(self, stand: Stand) -> int:
        return min(PIECE, stand.position - self.position)

    async def types_at(self, positions: Iterable[int]) -> Counter[str]:
        """The types of the events at some positions, by today's names."""
        found: Counter[str] = Counter()
        for position in positions:
            async with aclosing(self._log.read(position - 1, limit=1)) as batches:
                found.update(event.type_name for event in (await anext(batches)).events)
        return found

    async def _read_one(self, position: int, stand: Stand) -> Sequence[RecordedEvent]:
        async with aclosing(self._log.read(position - 1, limit=1)) as batches:
            batch = await anext(batches)
        _check(batch, stand)
        return batch.events

    async def _pass(self, events: Iterable[RecordedEvent]) -> None:
        left_out = self._left_out
        handled = [e for e in events if e.position not in left_out and self._handlers.handle(e)]
        if handled:
            await in_thread(lambda: self._fold(handled))

    def _fold(self, events: list[RecordedEvent]) -> None:
        # What a handler fails on is left out, with what it had done: see Replay.
        while (failed := self._try(events)) is not None:
            events.remove(failed)

    def _try(self, recorded: Sequence[RecordedEvent]) -> RecordedEvent | None:
        rows = ScratchRows(self._scratch)
        events = [self._handlers.event(each) for each in recorded]
        self._handlers.prefetch(events, rows)
        told: list[tuple[RecordedEvent, Values | None, Values | None]] = []
        for each, event in zip(recorded, events, strict=True):
            before = self._watched_values(rows)
            try:
                self._handlers.apply(each, event, rows)
            except Exception:  # whatever a handler raises
                return each
            told.append((each, before, self._watched_values(rows)))
        rows.flush()
        self._tell(told)
        return None

    def _watched_values(self, rows: ScratchRows) -> Values | None:
        return rows.values(*self._watched[:2]) if self._watched is not None else None

    def _tell(self, told: Iterable[tuple[RecordedEvent, Values | None, Values | None]]) -> None:
        for event, before, after in told:
            if self._watched is not None and before != after:
                self._watched[2](event, before, after)


async def in_thread(work: Callable[[], T]) -> T:
    """Run work in a thread; when this task is cancelled, it still waits for the work's end."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _check(batch: LogBatch, stand: Stand) -> None:
    mine = stand.checkpoint
    if batch.log_id != mine.log_id:
        raise Unavailable(
            f"projection {mine.projection} was filled from another log than the command server has",
            reason="OTHER_LOG",
        )
    if not batch.events:
        raise Unavailable(
            f"the log ends before position {mine.position}, where projection {mine.projection} is",
            reason="LOG_ENDS_BEFORE",
        )
