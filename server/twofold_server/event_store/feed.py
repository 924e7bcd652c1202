"""The live end of the log: who follows it is woken at each commit and served from memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from twofold_server.event_store.events import RecordedEvent


class _HeadNotice(msgspec.Struct):
    log_id: str
    position: int


class Feed:
    """The newest events of the log, up to a bound, and the position of its end."""

    def __init__(self, log_id: str, head: int, *, capacity: int = 4_000) -> None:
        self._log_id = log_id
        self._head = head
        self._recent: deque[RecordedEvent] = deque(maxlen=capacity)
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def head(self) -> int:
        """The position of the last event that is known here."""
        return self._head

    def publish(self, events: Sequence[RecordedEvent]) -> None:
        """Take the events of a commit, in order of position."""
        if not events:
            return
        if self._recent and events[0].position != self._recent[-1].position + 1:
            self._recent.clear()  # another command server wrote in between; the log has it all
        self._recent.extend(events)
        self.advance(events[-1].position)

    def advance(self, head: int) -> None:
        """Learn of a newer end of the log, without its events."""
        if head <= self._head:
            return
        self._head = head
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def heard(self, _subject: str, data: bytes) -> None:
        """Take in a notice ``{"log_id", "position"}`` of who published the log up to there."""
        notice = msgspec.json.decode(data, type=_HeadNotice)
        if notice.log_id == self._log_id:
            self.advance(notice.position)

    def recent(self, after_position: int, limit: int) -> list[RecordedEvent] | None:
        """The events after a position, from memory; None where memory does not reach back that far."""
        if after_position >= self._head:
            return []
        if not self._recent or self._recent[-1].position != self._head:
            return None
        start = after_position + 1 - self._recent[0].position
        if start < 0:
            return None
        return [self._recent[i] for i in range(start, min(start + limit, len(self._recent)))]

    async def wait_beyond(self, position: int, timeout: float) -> None:
        """Wait until the log reaches beyond a position, at most ``timeout`` seconds."""
        if self._head > position:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)
