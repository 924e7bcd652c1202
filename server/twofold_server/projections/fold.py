"""One batch of events into one projection, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from twofold_server.database import Database
from twofold_server.event_store.events import RecordedEvent
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Projection
from twofold_server.projections.checkpoints import Checkpoint, TakenOver, advance, read_checkpoint, take_over
from twofold_server.projections.handlers import Handlers
from twofold_server.projections.notices import Written
from twofold_server.projections.rows import SessionRows, Touched

T = TypeVar("T")


class Hole(Exception):
    """Events between the checkpoint and these are missing; nothing was applied."""


class Fold:
    """A projection and its checkpoint."""

    def __init__(self, *, database: Database, projection: Projection, codec: EventCodec) -> None:
        self._database = database
        self._projection = projection
        self._handlers = Handlers(projection, codec)
        self._checkpoint: Checkpoint | None = None
        self._written: Written | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def name(self) -> str:
        """The name of the projection."""
        return self._projection.name

    @property
    def is_mine(self) -> bool:
        """Whether it was taken over."""
        return self._checkpoint is not None

    @property
    def checkpoint(self) -> Checkpoint:
        """How far it is; only after ``take_over``."""
        if self._checkpoint is None:
            raise RuntimeError(f"projection {self.name} was not taken over yet")
        return self._checkpoint

    @property
    def position(self) -> int:
        """The position of the last event that was applied."""
        return self.checkpoint.position

    @property
    def written(self) -> Written | None:
        """What the last batch wrote; None before there was one."""
        return self._written

    async def find(self) -> Checkpoint | None:
        """The checkpoint as it is stored; None before the first start."""
        return await self._database.read(partial(read_checkpoint, projection=self.name))

    async def take_over(self, log_id: str) -> None:
        """Become the one that writes this projection; raises StartupError (see checkpoints)."""
        self._checkpoint = await self._database.write(
            partial(take_over, projection=self.name, version=self._projection.version, log_id=log_id)
        )

    async def refresh(self) -> None:
        """Read the checkpoint again, after a transaction of unknown end; raises TakenOver."""
        mine = self.checkpoint
        found = await self.find()
        if found is None or (found.log_id, found.epoch) != (mine.log_id, mine.epoch):
            raise TakenOver(f"another projector has taken over projection {self.name}; this one stops")
        self._checkpoint = found

    async def apply(self, events: Sequence[RecordedEvent], *, head: int = 0) -> None:
        """Apply events in order of position and move the checkpoint, all or nothing.

        Events that were applied before are dropped. ``head`` is the end of the log, as far as is known.
        Raises Hole where events are missing before or between them, TakenOver where another projector is
        the newer one, Unavailable, and whatever a handler raises.
        """
        async with self._one_at_a_time:
            await self._apply(events, head)

    @asynccontextmanager
    async def still(self) -> AsyncIterator[Checkpoint]:
        """Nothing is applied by this fold inside the block, where the checkpoint stays as it is."""
        async with self._one_at_a_time:
            yield self.checkpoint

    async def rewrite(self, work: Callable[[Connection], T]) -> T:
        """Change rows without moving on, under the fence; only inside ``still``.

        The epoch moves instead, so that nobody takes an answer from before for one of now.
        Raises TakenOver, with nothing changed, where another projector is the newer one.
        """
        current = self.checkpoint
        following = replace(current, epoch=current.epoch + 1)

        def fenced(connection: Connection) -> T:
            advance(connection, current, following)
            return work(connection)

        result = await self._database.write(fenced)
        self._checkpoint = following
        return result

    async def _apply(self, events: Sequence[RecordedEvent], head: int) -> None:
        current = self.checkpoint
        fresh = [event for event in events if event.position > current.position]
        if not fresh:
            return
        _check_gapless(fresh, current.position)
        last = fresh[-1]
        following = replace(
            current,
            position=last.position,
            recorded_at=last.recorded_at,
            head=max(head, current.head, last.position),
        )
        touched = await self._database.write(partial(self._work, fresh, current, following))
        self._written = Written(current.position, last.position, touched)
        self._checkpoint = following

    def _work(
        self, fresh: list[RecordedEvent], current: Checkpoint, following: Checkpoint, connection: Connection
    ) -> Touched:
        # The fence comes first: a projector that was replaced waits for nothing and works for nothing.
        advance(connection, current, following)
        handled = [event for event in fresh if self._handlers.handle(event)]
        if not handled:
            return {}
        rows = SessionRows(connection)
        events = [self._handlers.event(event) for event in handled]
        for table, key_of in self._projection.prefetch.items():
            rows.prefetch(table, (key for event in events if (key := key_of(event)) is not None))
        for recorded, event in zip(handled, events, strict=True):
            self._handlers.apply(recorded, event, rows)
        return rows.flush()


def _check_gapless(events: Sequence[RecordedEvent], after: int) -> None:
    for expected, event in enumerate(events, start=after + 1):
        if event.position != expected:
            raise Hole(f"event {expected} is missing before event {event.position}")
