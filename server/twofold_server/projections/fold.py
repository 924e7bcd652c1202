"""One batch of events into one projection, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Table

from twofold_server.database import Database
from twofold_server.event_store.events import RecordedEvent
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Projection
from twofold_server.projections.attempts import Attempts, begin
from twofold_server.projections.checkpoints import (
    Checkpoint,
    TakenOver,
    advance,
    read_build,
    take_over,
    tell_parked,
)
from twofold_server.projections.handlers import Handlers
from twofold_server.projections.letters import Scope, park, parked_among, parked_keys, set_aside
from twofold_server.projections.notices import Written
from twofold_server.projections.rows import SessionRows, Touched
from twofold_server.projections.tables import FIRST, tables_beside

T = TypeVar("T")


class Hole(Exception):
    """Events between the checkpoint and these are missing; nothing was applied."""


class Fold:
    """A projection and its checkpoint."""

    def __init__(
        self, *, database: Database, projection: Projection, codec: EventCodec, build: int | None = None
    ) -> None:
        """``build`` is the number of a build beside; None is the one that queries read."""
        self._database = database
        self._build = build
        self._tables = tables_beside(projection, build) if build is not None else None
        self._projection = projection
        self._handlers = Handlers(projection, codec)
        self._checkpoint: Checkpoint | None = None
        self._written: Written | None = None
        self._suspect: Attempts | None = None
        self._parked = 0
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

    @property
    def scope(self) -> Scope:
        """Whose dead letters are this fold's."""
        return Scope(self.name, self._checkpoint.build if self._checkpoint is not None else FIRST)

    @property
    def suspect(self) -> Attempts | None:
        """The event that an earlier projector began with and did not get past; None for none."""
        return self._suspect

    @property
    def parked(self) -> int:
        """How many keys are parked."""
        return self._parked

    def table(self, table: type[Any]) -> Table:
        """The table that rows of a class are written to."""
        found: Table = (self._tables or {}).get(table, table.__table__)
        return found

    def handles(self, event: RecordedEvent) -> bool:
        """Whether an event matters to this projection."""
        return self._handlers.handle(event)

    async def find(self) -> Checkpoint | None:
        """The checkpoint as it is stored; None before the first start."""
        return await self._database.read(partial(read_build, projection=self.name, build=self._build))

    async def take_over(self, log_id: str) -> None:
        """Become the one that writes this projection; raises StartupError (see checkpoints)."""
        self._checkpoint, self._suspect, self._parked = await self._database.write(
            partial(self._begin, log_id=log_id)
        )

    def let_go(self) -> None:
        """Write no more until the next ``take_over``."""
        self._checkpoint = None

    def _begin(self, connection: Connection, log_id: str) -> tuple[Checkpoint, Attempts | None, int]:
        mine = take_over(connection, self._projection, log_id, self._build)
        scope = Scope(self.name, mine.build)
        suspect = begin(connection, scope, mine.position + 1)
        parked = parked_keys(connection, scope)
        if parked != mine.parked:  # the workers of a rebuild have parked some
            tell_parked(connection, mine, parked)
        return mine, suspect, parked

    async def refresh(self) -> None:
        """Read the checkpoint again, after a transaction of unknown end; raises TakenOver."""
        mine = self.checkpoint
        found, parked = await self._database.read(self._look)
        if found is None or _who(found) != _who(mine):
            raise TakenOver(f"another projector has taken over projection {self.name}; this one stops")
        self._checkpoint, self._parked = found, parked

    def _look(self, connection: Connection) -> tuple[Checkpoint | None, int]:
        return read_build(connection, self.name, self._build), parked_keys(connection, self.scope)

    async def apply(self, events: Sequence[RecordedEvent], *, head: int = 0) -> None:
        """Apply events in order of position and move the checkpoint, all or nothing.

        Events that were applied before are dropped, those of parked keys are noted to wait. ``head`` is the
        end of the log, as far as is known. Raises Hole where events are missing before or between them,
        TakenOver where another projector is the newer one, Unavailable, and whatever a handler raises.
        """
        async with self._one_at_a_time:
            await self._apply(events, head)

    async def park(self, event: RecordedEvent, *, attempts: int, error: str, head: int = 0) -> None:
        """Pass over the next event: it and the later ones of its key wait. Raises as ``apply``."""
        async with self._one_at_a_time:
            current = self.checkpoint
            _check_gapless([event], current.position)
            following = _after(current, event, head)

            def work(connection: Connection) -> None:
                advance(connection, current, following)
                park(connection, self.scope, event, attempts=attempts, error=error)
                tell_parked(connection, current, self._parked + 1)

            await self._database.write(work)
            self._written = Written(current.position, following.position, {})
            self._checkpoint = following
            self._parked += 1

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

        def fenced(connection: Connection) -> tuple[T, int]:
            advance(connection, current, following)
            result, parked = work(connection), parked_keys(connection, self.scope)
            if parked != self._parked:
                tell_parked(connection, current, parked)
            return result, parked

        result, self._parked = await self._database.write(fenced)
        self._checkpoint = following
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Read from the store that this fold writes, in one snapshot."""
        return await self._database.read(work)

    async def note(self, work: Callable[[Connection], None]) -> None:
        """Write something beside the rows, under the fence; the checkpoint stays as it is."""
        async with self._one_at_a_time:
            current = self.checkpoint

            def fenced(connection: Connection) -> None:
                advance(connection, current, current)
                work(connection)

            await self._database.write(fenced)

    async def _apply(self, events: Sequence[RecordedEvent], head: int) -> None:
        current = self.checkpoint
        fresh = [event for event in events if event.position > current.position]
        if not fresh:
            return
        _check_gapless(fresh, current.position)
        following = _after(current, fresh[-1], head)
        touched = await self._database.write(partial(self._work, fresh, current, following))
        self._written = Written(current.position, following.position, touched)
        self._checkpoint = following

    def _work(
        self, fresh: list[RecordedEvent], current: Checkpoint, following: Checkpoint, connection: Connection
    ) -> Touched:
        # The fence comes first: a projector that was replaced waits for nothing and works for nothing.
        advance(connection, current, following)
        handled = [event for event in fresh if self.handles(event)]
        if self._parked:
            handled = self._not_parked(connection, handled)
        return self.handle(connection, handled)

    def _not_parked(self, connection: Connection, events: list[RecordedEvent]) -> list[RecordedEvent]:
        parked = parked_among(connection, self.scope, {event.stream_name for event in events})
        if waiting := [event for event in events if event.stream_name in parked]:
            set_aside(connection, self.scope, waiting)
        return [event for event in events if event.stream_name not in parked]

    def handle(self, connection: Connection, handled: Sequence[RecordedEvent]) -> Touched:
        """Let the handlers change the rows for events that matter; the caller has passed the fence.

        Returns which rows were written.
        """
        if not handled:
            return {}
        rows = SessionRows(connection, self._tables)
        events = [self._handlers.event(event) for event in handled]
        self._handlers.prefetch(events, rows)
        for recorded, event in zip(handled, events, strict=True):
            self._handlers.apply(recorded, event, rows)
        return rows.flush()


def _after(current: Checkpoint, last: RecordedEvent, head: int) -> Checkpoint:
    return replace(
        current,
        position=last.position,
        recorded_at=last.recorded_at,
        head=max(head, current.head, last.position),
    )


def _who(checkpoint: Checkpoint) -> tuple[str, int, int]:
    return checkpoint.log_id, checkpoint.build, checkpoint.epoch


def _check_gapless(events: Sequence[RecordedEvent], after: int) -> None:
    for expected, event in enumerate(events, start=after + 1):
        if event.position != expected:
            raise Hole(f"event {expected} is missing before event {event.position}")
