"""Where a projector gets events from: the log, which is the truth, and the broker, which is faster."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from twofold_server.event_store.events import RecordedEvent


@dataclass(frozen=True, slots=True)
class LogBatch:
    """A piece of the log."""

    log_id: str
    """The log's id."""
    events: Sequence[RecordedEvent]
    """In order of position, without gaps; empty at the end of the log."""
    head: int
    """The position of the log's last event when this was read."""


@dataclass(frozen=True, slots=True)
class PartitionBatch:
    """A piece of some partitions of the log."""

    events: Sequence[RecordedEvent]
    """In order of position; there may be none."""
    reach: int
    """Up to and with this position every event of the partitions has been sent."""


class LogAway(Exception):
    """The log cannot be read at the moment; says why."""


class EventLog(Protocol):
    """The log."""

    def read(self, after: int, *, limit: int) -> AsyncGenerator[LogBatch, None]:
        """At most ``limit`` events after a position, in batches, at least one; raises LogAway."""


class StreamLog(EventLog, Protocol):
    """The log, and each stream of it."""

    async def read_stream(self, name: str, *, after: int = 0) -> list[RecordedEvent]:
        """The events of one stream after a stream version, none where there is no such stream.

        Raises LogAway.
        """


class PartitionedLog(Protocol):
    """The log, some partitions of the streams at a time."""

    def read_partitions(self, after: int, partitions: Sequence[int]) -> AsyncGenerator[PartitionBatch, None]:
        """The events of some partitions after a position, up to the log's present end; raises LogAway."""


class Hints(Protocol):
    """Events that a broker brings: possibly twice, late, reordered, or not at all."""

    @property
    def trouble(self) -> str:
        """Why the broker brings nothing, in plain words; empty while it works."""

    def follow(self, log_id: str) -> None:
        """Bring events of this log from now on, and of no other."""

    async def next(self, after: int, timeout: float) -> Sequence[RecordedEvent]:
        """Some events, best those right after a position; nothing after ``timeout`` seconds.

        Never raises for a broker that is away: then it returns nothing, after a pause.
        """

    def reset(self) -> None:
        """Ask the broker anew next time: it kept silent about events that the log has."""

    def look_failed(self) -> None:
        """The log could not be looked at: come back within the usual time, however slow the pace."""

    async def close(self) -> None:
        """Let go of what the broker keeps for this projector."""


def gapless(events: Sequence[RecordedEvent], *, after: int) -> list[RecordedEvent]:
    """The events that follow a position without a gap, however they came: twice, late, in any order."""
    by_position = {event.position: event for event in events}
    found: list[RecordedEvent] = []
    while (event := by_position.get(after + 1 + len(found))) is not None:
        found.append(event)
    return found
