"""The outbox: what is to be published next, out of memory or out of the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.store import EventStore
from twofold_server.publishing.backlog import Backlog
from twofold_server.publishing.config import RelayConfig


class GapInLog(Exception):
    """The log has no event at a position below its head, which must not be."""


class Outbox:
    """The events of the log in order, from any position, and word of new ones."""

    def __init__(self, store: EventStore, config: RelayConfig) -> None:
        self._store = store
        self._backlog = Backlog(max_events=config.max_backlog, max_bytes=config.max_backlog_bytes)
        self._max_events = config.max_window
        self._max_bytes = config.max_window_bytes
        self._news = asyncio.Event()

    @property
    def head(self) -> int:
        """The highest position that is known to be committed."""
        return self._backlog.head

    def offer(self, events: Sequence[RecordedEvent]) -> None:
        """Take the events of a commit, in order of position."""
        if events:
            self._backlog.add(events)
            self._news.set()

    def heard(self, position: int) -> None:
        """Take the word of another command server that a position is committed."""
        if position > self._backlog.head:
            self._backlog.head = position
            self._news.set()

    async def look(self) -> int:
        """The head as the log has it; raises Unavailable."""
        self.heard(await self._store.head())
        return self.head

    async def wait(self, seconds: float) -> bool:
        """Wait until something was committed since the last wait; False when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
            self._news.clear()
            return True
        return False

    async def after(self, position: int) -> list[RecordedEvent]:
        """A window of the events after a position; empty at the head. Raises Unavailable and GapInLog."""
        events = self._backlog.after(position, max_events=self._max_events, max_bytes=self._max_bytes)
        if not events and self.head > position:
            events = await self._read(position)
        if events and (events[0].position, events[-1].position) != (position + 1, position + len(events)):
            raise GapInLog(f"the log has no event at position {position + 1}; it is damaged, restore it")
        return events

    async def _read(self, position: int) -> list[RecordedEvent]:
        first = self._backlog.first
        return await self._store.read_events(
            position, limit=self._max_events, to_position=first - 1 if first else None
        )
