"""Batches that may fail: the culprit is found, tried again for a while, and then parked with its key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy.exc import DBAPIError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from twofold_server.database.translation import in_one_line
from twofold_server.errors import StartupError, Unavailable
from twofold_server.event_store.events import RecordedEvent
from twofold_server.projections.attempts import Attempts, count, forget_attempts
from twofold_server.projections.fold import Fold, Hole

LARGEST = 1000
"""Events in one transaction, at most: among so many is the one that a projector died of."""
_WRONG_SQL = "42"
"""The class of SQLSTATEs for a table or column that does not exist."""
_CLOSE_SECONDS = 1.0
DIED = "the projector ended while it handled this event"
"""The error of an attempt that nobody lived to tell of."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """What a handler that fails is granted."""

    attempts: int = 5
    """How often an event is tried before its key is parked."""
    pause: float = 0.1
    """Seconds before the second attempt; they double with each further one, and vary by as much."""
    max_pause: float = 5.0
    """The longest pause, in seconds."""
    max_parked: int = 1000
    """With so many parked keys it is not the events that are wrong: the projection stands still instead."""


class ParkingFold:
    """Applies events to a fold, whatever its handlers do."""

    def __init__(self, fold: Fold, patience: Patience) -> None:
        self._fold = fold
        self._patience = patience
        self._tried = Attempts(0, 0, "")
        self._careful_through = 0
        self._began_at = -1
        self._logger = structlog.get_logger().bind(projection=fold.name)
        self.trouble = ""
        """Which event is tried again, and why; empty while all is well."""

    def begin(self) -> None:
        """To be called when the fold was taken over."""
        self._tried, self._careful_through = Attempts(0, 0, ""), 0
        self._began_at = self._fold.position
        if (suspect := self._fold.suspect) is not None:
            self._tried, self._careful_through = suspect, suspect.position + LARGEST - 1
        if self._fold.parked:
            self._logger.warning("keys are parked", parked=self._fold.parked)

    async def apply(self, events: Sequence[RecordedEvent], *, head: int = 0) -> None:
        """As ``Fold.apply``, but a handler that fails again and again has its key parked."""
        fresh = [event for event in events if event.position > self._fold.position]
        for start in range(0, len(fresh), LARGEST):
            await self._apply(fresh[start : start + LARGEST], head)
        self.trouble = ""

    async def close(self) -> None:
        """Note that nothing is under way: the next projector need not suspect anything."""
        if not self._fold.is_mine or self._fold.position != self._began_at:
            return
        with suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await whole(self._fold.note(partial(forget_attempts, scope=self._fold.scope)))

    async def _apply(self, events: Sequence[RecordedEvent], head: int) -> None:
        if len(events) == 1 or events[0].position <= self._careful_through:
            for event in events:
                await self._alone(event, head)
            return
        try:
            await whole(self._fold.apply(events, head=head))
        except Exception as error:
            if not is_the_handlers(error):
                raise
            middle = len(events) // 2
            await self._apply(events[:middle], head)
            await self._apply(events[middle:], head)

    async def _alone(self, event: RecordedEvent, head: int) -> None:
        if not self._fold.handles(event):
            await whole(self._fold.apply([event], head=head))
            return
        tried = self._attempts_of(event)
        if tried.attempts >= self._patience.attempts:
            await self._park(event, head)
            return
        retrying = self._retrying(self._patience.attempts - tried.attempts)
        try:
            async for attempt in retrying:
                with attempt:
                    await self._try(event, head)
        except Exception as error:
            if not is_the_handlers(error):
                raise
            await self._park(event, head)

    def _retrying(self, left: int) -> AsyncRetrying:
        pause, longest = self._patience.pause, self._patience.max_pause
        return AsyncRetrying(
            stop=stop_after_attempt(left),
            wait=wait_exponential_jitter(multiplier=pause, max=longest, jitter=pause),
            retry=retry_if_exception(is_the_handlers),
            reraise=True,
        )

    async def _try(self, event: RecordedEvent, head: int) -> None:
        """One attempt, counted before it is made; but for the first one of an event that nobody died near.

        That one is like a batch: if the process ends, the position that the next projector begins with tells.
        Counting it would double the price of each event that comes alone.
        """
        before = self._attempts_of(event)
        self._tried = before._replace(attempts=before.attempts + 1, error=DIED)
        if before.attempts or event.position <= self._careful_through:
            await whole(self._fold.note(partial(count, scope=self._fold.scope, attempts=self._tried)))
        try:
            await whole(self._fold.apply([event], head=head))
        except Exception as error:
            # Where the store is away nothing is said about the handler.
            said = self._tried._replace(error=told(error))
            self._tried = said if is_the_handlers(error) else before
            self.trouble = f"event {event.position} of {event.stream_name} fails: {told(error)}"
            raise

    def _attempts_of(self, event: RecordedEvent) -> Attempts:
        known = self._tried
        return known if known.position == event.position else Attempts(event.position, 0, "")

    async def _park(self, event: RecordedEvent, head: int) -> None:
        tried = self._attempts_of(event)
        if self._fold.parked >= self._patience.max_parked:
            raise TooManyParked(
                f"{self._fold.parked} keys are parked, which is the limit, and one more fails: {tried.error}"
            )
        await whole(self._fold.park(event, attempts=tried.attempts, error=tried.error, head=head))
        self._logger.error(
            "event parked; later ones of its stream wait",
            stream=event.stream_name,
            position=event.position,
            attempts=tried.attempts,
            why=tried.error,
            parked=self._fold.parked,
        )


class TooManyParked(Exception):
    """So many keys are parked that the projection stands still rather than park more."""


def told(error: BaseException) -> str:
    """An error in one line."""
    text = in_one_line(error) if isinstance(error, DBAPIError) else str(error)
    return f"{type(error).__name__}: {text}"


def is_the_handlers(error: BaseException) -> bool:
    """Whether an error comes from an event and its handler, and not from where the rows are kept."""
    if isinstance(error, DBAPIError) and (getattr(error.orig, "sqlstate", None) or "")[:2] == _WRONG_SQL:
        return False  # a table or column is missing: all events would fail
    return isinstance(error, Exception) and not isinstance(error, StartupError | Unavailable | Hole)


async def whole(work: Awaitable[None]) -> None:
    """Wait for the end of a transaction, also when this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
