"""Which events of the log a reader wants."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from twofold_server.event_store.events import RecordedEvent

PARTITIONS = 16
"""How many partitions streams are spread over; in the subjects of published events, so never changed."""
ALL_PARTITIONS = frozenset(range(PARTITIONS))


def partition_of(stream_name: str) -> int:
    """The partition of a stream: a hash that is the same in every process and language (CRC-32)."""
    return zlib.crc32(stream_name.encode()) % PARTITIONS


@dataclass(frozen=True, slots=True)
class EventFilter:
    """An empty set does not filter; several sets must all match."""

    packages: frozenset[str] = frozenset()
    moved_types: frozenset[str] = frozenset()
    """Type names of other packages that count as of these packages; no filter by itself."""
    categories: frozenset[str] = frozenset()
    type_names: frozenset[str] = frozenset()
    stream_names: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()

    def matches(self, event: RecordedEvent) -> bool:
        """Whether the reader wants this event."""
        return (
            (not self.packages or event.package in self.packages or event.type_name in self.moved_types)
            and (not self.categories or event.category in self.categories)
            and (not self.type_names or event.type_name in self.type_names)
            and (not self.stream_names or event.stream_name in self.stream_names)
            and (not self.partitions or partition_of(event.stream_name) in self.partitions)
        )


EVERYTHING = EventFilter()
