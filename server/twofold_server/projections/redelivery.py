"""What an operator does about dead letters: try them again, or leave an event out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from twofold_server.errors import InvalidRequest, NotFound, Unavailable
from twofold_server.event_store.events import RecordedEvent
from twofold_server.projections.fold import Fold
from twofold_server.projections.letters import (
    DeadLetter,
    Scope,
    dead_letters,
    failed_again,
    pointers,
    remove,
    waiting,
)
from twofold_server.projections.parking import DIED, is_the_handlers, told, whole
from twofold_server.projections.skips import note_skip
from twofold_server.projections.sources import LogAway, StreamLog

T = TypeVar("T")
PAGE = 500
"""Letters of a key that are applied in one transaction."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of another attempt."""

    applied: int
    """How many events were applied."""
    letter: DeadLetter | None
    """What the key waits for now; None where it is parked no more."""


class Redelivery:
    """Works on the dead letters of one fold, beside its loop and behind the same fence."""

    def __init__(self, *, fold: Fold, log: StreamLog) -> None:
        self._fold = fold
        self._log = log
        self._one_at_a_time = asyncio.Lock()
        self._logger = structlog.get_logger().bind(projection=fold.name)

    async def scope(self) -> Scope:
        """Whose letters these are; where another projector writes, those of the build that queries read."""
        found = None if self._fold.is_mine else await self._fold.find()
        return self._fold.scope if found is None else Scope(found.projection, found.build)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Read from the store of the letters."""
        return await self._fold.read(work)

    async def count(self, stream_name: str = "") -> int:
        """How many events of the projection, or of one key, are not in its rows."""
        return await self._fold.read(partial(waiting, scope=await self.scope(), stream_name=stream_name))

    async def letters(self) -> list[DeadLetter]:
        """The parked keys of the projection."""
        return await self._fold.read(partial(dead_letters, scope=await self.scope()))

    async def retry(self, stream_name: str) -> Outcome:
        """Apply a key's events in order, until one fails again.

        Raises NotFound where the key is not parked, Unavailable, TakenOver.
        """
        self._check_mine()
        async with self._one_at_a_time:
            return await self._retry(await self._letter(lambda each: each.stream_name == stream_name))

    async def skip(self, stream_name: str, position: int, *, who: str, why: str) -> Outcome:
        """Leave out the event that a key waits for, and apply what waits behind it.

        Raises NotFound where no key waits for this event, InvalidRequest without who and why, Unavailable,
        TakenOver.
        """
        if not who.strip() or not why.strip():
            raise InvalidRequest("an event is skipped for ever: say who decided it and why")
        self._check_mine()
        async with self._one_at_a_time:
            letter = await self._letter(
                lambda each: (each.stream_name, each.position) == (stream_name, position)
            )
            await self._changed(partial(self._leave_out, letter=letter, who=who, why=why))
            self._logger.warning(
                "event skipped", stream=letter.stream_name, position=position, who=who, why=why
            )
            return await self._retry(letter)

    def _check_mine(self) -> None:
        if not self._fold.is_mine:
            raise Unavailable(
                f"this projector does not write {self._fold.name}; ask the one that does, or retry",
                reason="NOT_THE_WRITER",
            )

    def _leave_out(self, connection: Connection, *, letter: DeadLetter, who: str, why: str) -> None:
        note_skip(connection, self._fold.scope, letter, who=who, why=why)
        remove(connection, self._fold.scope, letter.stream_name, letter.position)

    async def _letter(self, wanted: Callable[[DeadLetter], bool]) -> DeadLetter:
        for letter in await self.letters():
            if wanted(letter):
                return letter
        raise NotFound(
            f"no such dead letter in projection {self._fold.name}; list them to see which there are",
            reason="DEAD_LETTER_NOT_FOUND",
        )

    async def _retry(self, letter: DeadLetter) -> Outcome:
        applied = 0
        while events := await self._next(letter.stream_name):
            done = await self._apply_all(events)
            applied += done
            if done < len(events):
                return Outcome(applied, await self._letter(lambda e: e.stream_name == letter.stream_name))
        self._logger.info("key parked no more", stream=letter.stream_name, applied=applied)
        return Outcome(applied, None)

    async def _next(self, stream_name: str) -> list[RecordedEvent]:
        """The first events of a key that wait, out of the log."""
        found = await self._fold.read(
            partial(pointers, scope=self._fold.scope, stream_name=stream_name, limit=PAGE)
        )
        if not found:
            return []
        wanted = {pointer.position for pointer in found}
        try:
            stream = await self._log.read_stream(stream_name, after=found[0].stream_version - 1)
        except LogAway as error:
            raise Unavailable(str(error), reason="LOG_UNAVAILABLE") from error
        events = [event for event in stream if event.position in wanted]
        if len(events) < len(wanted):
            raise Unavailable(f"the log does not hold all events of {stream_name}", reason="LOG_UNAVAILABLE")
        return events

    async def _apply_all(self, events: Sequence[RecordedEvent]) -> int:
        """How many were applied: the first, then the rest at once, or one by one up to that which fails."""
        if not await self._attempt(events[:1]):
            return 0
        if len(events) == 1 or await self._attempt(events[1:]):
            return len(events)
        for number, event in enumerate(events[1:], start=1):
            if not await self._attempt([event]):
                return number
        return len(events)

    async def _attempt(self, events: Sequence[RecordedEvent]) -> bool:
        first = events[0].position
        letter = await self._counted(first)
        try:
            await self._changed(partial(self._apply, events=events))
        except Exception as error:
            if not is_the_handlers(error):
                raise
            note = partial(failed_again, position=first, attempts=letter.attempts + 1, error=told(error))
            await whole(self._fold.note(lambda connection: note(connection, self._fold.scope)))
            return False
        return True

    async def _counted(self, position: int) -> DeadLetter:
        """Count an attempt before it is made: it may end this process."""
        letter = await self._letter(lambda each: each.position == position)
        note = partial(failed_again, position=position, attempts=letter.attempts + 1, error=DIED)
        await whole(self._fold.note(lambda connection: note(connection, self._fold.scope)))
        return letter

    def _apply(self, connection: Connection, *, events: Sequence[RecordedEvent]) -> None:
        self._fold.handle(connection, [event for event in events if self._fold.handles(event)])
        remove(connection, self._fold.scope, events[0].stream_name, events[-1].position)

    async def _changed(self, work: Callable[[Connection], None]) -> None:
        await whole(self._change(work))

    async def _change(self, work: Callable[[Connection], None]) -> None:
        async with self._fold.still():
            await self._fold.rewrite(work)
