"""What was committed and is not published yet, as far as memory may hold it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from twofold_server.event_store.events import RecordedEvent


class Backlog:
    """A run of consecutive events in memory, and the head of the log as far as it is known.

    Whatever is not here is in the log, so anything may be dropped.
    """

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._batches: deque[Sequence[RecordedEvent]] = deque()
        self._events = 0
        self._bytes = 0
        self.head = 0
        """The highest position that is known to be committed."""

    @property
    def first(self) -> int | None:
        """The first position in memory."""
        return self._batches[0][0].position if self._batches else None

    def add(self, events: Sequence[RecordedEvent]) -> None:
        """Remember a commit's events, which are in order of position."""
        if self._batches and events[0].position != self._batches[-1][-1].position + 1:
            # Another command server's commits lie between: they are read from the log.
            self._clear()
        self._batches.append(events)
        self._count(events, 1)
        if self._events > self._max_events or self._bytes > self._max_bytes:
            self._clear()
        self.head = max(self.head, events[-1].position)

    def after(self, position: int, *, max_events: int, max_bytes: int) -> list[RecordedEvent]:
        """The events that follow a position, which is published; empty where they are not in memory.

        There are at most ``max_events``, and their data sums to ``max_bytes`` unless one alone is bigger.
        """
        while self._batches and self._batches[0][-1].position <= position:
            self._count(self._batches.popleft(), -1)
        if self.first is None or self.first > position + 1:
            return []
        return _limited(
            (event for batch in self._batches for event in batch if event.position > position),
            max_events,
            max_bytes,
        )

    def _count(self, events: Sequence[RecordedEvent], sign: int) -> None:
        self._events += sign * len(events)
        self._bytes += sign * sum(len(event.data) for event in events)

    def _clear(self) -> None:
        self._batches.clear()
        self._events = self._bytes = 0


def _limited(events: Iterable[RecordedEvent], max_events: int, max_bytes: int) -> list[RecordedEvent]:
    taken: list[RecordedEvent] = []
    size = 0
    for event in events:
        size += len(event.data)
        if taken and (size > max_bytes or len(taken) == max_events):
            break
        taken.append(event)
    return taken
