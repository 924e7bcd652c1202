"""Hints that are held back, so that a projection is brought up to date less often than events come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from twofold_server.event_store.events import RecordedEvent
from twofold_server.projections.sources import Hints, gapless
from twofold_server.projections.strategies import Strategy


def paced(hints: Hints, strategy: Strategy) -> Hints:
    """Hints at the pace of a strategy."""
    if strategy.interval:
        return ScheduledHints(strategy.interval)
    return BatchedHints(hints, strategy.size, strategy.linger) if strategy.size > 1 else hints


class BatchedHints:
    """Events of another source, so many together, or as many as come in the time that they are given."""

    def __init__(self, hints: Hints, size: int, linger: float) -> None:
        """``linger`` is how long the first event waits for others, in seconds."""
        self._hints = hints
        self._size = size
        self._linger = linger

    @property
    def trouble(self) -> str:
        """See Hints."""
        return self._hints.trouble

    def follow(self, log_id: str) -> None:
        """See Hints."""
        self._hints.follow(log_id)

    async def next(self, after: int, timeout: float) -> Sequence[RecordedEvent]:
        """See Hints; once there is one event, ``timeout`` counts no more."""
        events = list(await self._hints.next(after, timeout))
        give_up = time.monotonic() + self._linger
        while events and len(events) < self._size and (left := give_up - time.monotonic()) > 0:
            in_order = gapless(events, after=after)
            reach = after + len(in_order)
            if reach < max(event.position for event in events):
                break  # a hole is filled by who asks
            events += await self._hints.next(reach, left)
            await asyncio.sleep(0)
        return events

    def reset(self) -> None:
        """See Hints."""
        self._hints.reset()

    def look_failed(self) -> None:
        """See Hints."""
        self._hints.look_failed()

    async def close(self) -> None:
        """See Hints."""
        await self._hints.close()


class ScheduledHints:
    """Brings no events, but is silent for so long: then the log is looked at, which has them all."""

    trouble = "a schedule does not tell of events"
    """Its silence says nothing: only a look at the log makes sure that there are no events."""

    def __init__(self, interval: float) -> None:
        """``interval`` is in seconds, from one look at the log to the next."""
        self._interval = interval
        self._due = time.monotonic() + interval
        self._soon = False

    def follow(self, log_id: str) -> None:
        """See Hints."""

    async def next(self, after: int, timeout: float) -> Sequence[RecordedEvent]:
        """See Hints; nothing, when the time has come."""
        now = time.monotonic()
        wake = now + min(timeout, self._interval) if self._soon else max(self._due, now)
        self._soon = False
        await asyncio.sleep(wake - now)
        if wake >= self._due:
            self._due = wake + self._interval
        return ()

    def reset(self) -> None:
        """See Hints."""

    def look_failed(self) -> None:
        """See Hints; the log is looked at again soon, not after the whole interval."""
        self._soon = True

    async def close(self) -> None:
        """See Hints."""
