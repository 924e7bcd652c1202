"""One batch of events into one projection, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from twofold_server.database import Database
from twofold_server.errors import StartupError
from twofold_server.event_store.events import RecordedEvent
from twofold_server.messages.events import EventCodec, time_of
from twofold_server.modelling import Event, Projection, Rows
from twofold_server.projections.checkpoints import Checkpoint, TakenOver, advance, read_checkpoint, take_over
from twofold_server.projections.rows import SessionRows

Handler = Callable[[Event[Any], Rows], None]


class Hole(Exception):
    """Events between the checkpoint and these are missing; nothing was applied."""


class Fold:
    """A projection and its checkpoint."""

    def __init__(self, *, database: Database, projection: Projection, codec: EventCodec) -> None:
        self._database = database
        self._projection = projection
        self._codec = codec
        self._handlers = _by_stored_name(projection, codec)
        self._checkpoint: Checkpoint | None = None

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
        await self._database.write(partial(self._work, fresh, current, following))
        self._checkpoint = following

    def _work(
        self, fresh: list[RecordedEvent], current: Checkpoint, following: Checkpoint, connection: Connection
    ) -> None:
        # The fence comes first: a projector that was replaced waits for nothing and works for nothing.
        advance(connection, current, following)
        handled = [event for event in fresh if event.type_name in self._handlers]
        if not handled:
            return
        rows = SessionRows(connection)
        events = [self._event(event) for event in handled]
        for table, key_of in self._projection.prefetch.items():
            rows.prefetch(table, (key for event in events if (key := key_of(event)) is not None))
        for recorded, event in zip(handled, events, strict=True):
            self._handlers[recorded.type_name](event, rows)
        rows.flush()

    def _event(self, recorded: RecordedEvent) -> Event[Any]:
        return Event(
            self._codec.decode(recorded),
            recorded.position,
            recorded.stream_name,
            recorded.stream_version,
            recorded.event_id,
            time_of(recorded.recorded_at),
            recorded.metadata,
        )


def _check_gapless(events: Sequence[RecordedEvent], after: int) -> None:
    for expected, event in enumerate(events, start=after + 1):
        if event.position != expected:
            raise Hole(f"event {expected} is missing before event {event.position}")


def _by_stored_name(projection: Projection, codec: EventCodec) -> dict[str, Handler]:
    """The handler of each type under all names that its events are stored under."""
    handlers: dict[str, Handler] = {}
    for message, handler in projection.handlers.items():
        name = message.DESCRIPTOR.full_name
        _check_handled(projection, name, codec)
        handlers |= dict.fromkeys(codec.stored_names([name]), handler)
    return handlers


def _check_handled(projection: Projection, name: str, codec: EventCodec) -> None:
    if not codec.knows(name):
        raise StartupError(f"projection {projection.name} handles {name}, which no loaded context declares")
    newest = codec.newest_name(name)
    if newest != name:
        raise StartupError(f"projection {projection.name} handles {name}, which became {newest}; handle that")
