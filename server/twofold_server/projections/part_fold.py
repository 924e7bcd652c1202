"""One part of a build: the events of some partitions, folded beside the workers of the other parts.

Rows that several streams share are right all the same: on SQLite only one transaction writes at a time, on
PostgreSQL rows are locked as they are read, and a batch that loses a race is applied again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from twofold_server.database import Database
from twofold_server.event_store.events import RecordedEvent
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Event, Projection
from twofold_server.projections.handlers import Handlers
from twofold_server.projections.letters import Scope, park, parked_among, parked_keys, set_aside
from twofold_server.projections.parking import is_the_handlers, told
from twofold_server.projections.parts import Part, advance_part, take_part
from twofold_server.projections.rows import SessionRows
from twofold_server.projections.tables import tables_beside

RACES = 10
"""How often a batch is tried that breaks a constraint: another worker may have added the same row."""
_Decoded = tuple[RecordedEvent, Event[Any]]


class PartFold:
    """A projection, and a part of one of its builds."""

    def __init__(self, *, database: Database, projection: Projection, codec: EventCodec, part: Part) -> None:
        self._database = database
        self._handlers = Handlers(projection, codec)
        self._tables = tables_beside(projection, part.build)
        self._scope = Scope(projection.name, part.build)
        self._part = part
        self._parked = 0

    @property
    def part(self) -> Part:
        """How far it is."""
        return self._part

    async def take_over(self) -> None:
        """Become the one that writes this part; raises TakenOver where the build is gone."""
        self._part, self._parked = await self._database.write(self._begin)

    def _begin(self, connection: Connection) -> tuple[Part, int]:
        return take_part(connection, self._part), parked_keys(connection, self._scope)

    async def apply(self, events: Sequence[RecordedEvent], reach: int) -> None:
        """Apply events of the part's partitions, in order, and move on to ``reach``, all or nothing.

        An event that fails has its key parked. Raises TakenOver, Unavailable.
        """
        current = self._part
        reach = min(reach, current.target)
        wanted = [e for e in events if current.position < e.position <= reach and self._handlers.handle(e)]
        try:
            await self._apply(wanted, reach, events)
        except Exception as error:
            if not is_the_handlers(error) or not wanted:
                raise
            await self._find_culprit(wanted, reach, error)

    async def _find_culprit(self, wanted: list[RecordedEvent], reach: int, error: Exception) -> None:
        if len(wanted) == 1:
            await self._write(partial(self._park, wanted[0], told(error)), reach, wanted)
            self._parked += 1
            return
        middle = len(wanted) // 2
        await self.apply(wanted[:middle], wanted[middle].position - 1)
        await self.apply(wanted[middle:], reach)

    async def _apply(self, wanted: list[RecordedEvent], reach: int, events: Sequence[RecordedEvent]) -> None:
        decoded = [(event, self._handlers.event(event)) for event in wanted]  # outside of the transaction
        racing = AsyncRetrying(
            stop=stop_after_attempt(RACES),
            wait=wait_random(0, 0.05),
            retry=retry_if_exception_type(IntegrityError),
            reraise=True,
        )
        async for attempt in racing:
            with attempt:
                await self._write(partial(self._handle, decoded), reach, events)

    async def _write(self, work: Any, reach: int, events: Sequence[RecordedEvent]) -> None:
        current = self._part
        seen = [event.recorded_at for event in events if event.position <= reach]
        following = replace(current, position=reach, recorded_at=max([current.recorded_at, *seen]))

        def fenced(connection: Connection) -> None:
            advance_part(connection, current, following)
            work(connection)

        await self._database.write(fenced)
        self._part = following

    def _handle(self, decoded: list[_Decoded], connection: Connection) -> None:
        if self._parked:
            decoded = self._not_parked(connection, decoded)
        if not decoded:
            return
        rows = SessionRows(connection, self._tables, among_others=connection.dialect.name != "sqlite")
        self._handlers.prefetch([event for _, event in decoded], rows)
        for recorded, event in decoded:
            self._handlers.apply(recorded, event, rows)
        rows.flush()

    def _not_parked(self, connection: Connection, decoded: list[_Decoded]) -> list[_Decoded]:
        parked = parked_among(connection, self._scope, {event.stream_name for event, _ in decoded})
        if waiting := [event for event, _ in decoded if event.stream_name in parked]:
            set_aside(connection, self._scope, waiting)
        return [each for each in decoded if each[0].stream_name not in parked]

    def _park(self, event: RecordedEvent, error: str, connection: Connection) -> None:
        park(connection, self._scope, event, attempts=1, error=error)
