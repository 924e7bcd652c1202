"""The port: what every event store can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twofold_server.event_store.appending import Append, AppendOutcome, StoredResponse
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.filters import EventFilter
from twofold_server.event_store.snapshots import LoadedStream, Snapshot


class EventStore(Protocol):
    """The log. Every method raises Unavailable when the store is away for the moment."""

    @property
    def log_id(self) -> str:
        """The log's id, a UUID given at its creation."""

    async def append(self, batch: Sequence[Append]) -> list[AppendOutcome]:
        """Append a batch in one transaction, durable on return; one outcome for each, in order.

        Positions are given out in commit order without gaps. If this raises, nothing of the batch was
        written, or (a connection lost while committing) all of it.
        """

    async def read_stream(
        self, stream_name: str, *, from_version: int = 1, to_version: int | None = None, limit: int = 1000
    ) -> list[RecordedEvent]:
        """The events of a stream in order, both versions included, at most ``limit``."""

    async def load_stream(self, stream_name: str, *, state_revision: int, limit: int = 1000) -> LoadedStream:
        """The snapshot of a stream, if it has one of this revision, and at most ``limit`` events after it."""

    async def write_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Store snapshots; one of an older version or revision than what is stored is passed over."""

    async def stream_version(self, stream_name: str) -> int:
        """The version of a stream; 0 where it does not exist."""

    async def read_events(
        self, after_position: int, *, limit: int = 1000, to_position: int | None = None
    ) -> list[RecordedEvent]:
        """The events after a position (up to and with another), in order, at most ``limit``."""

    async def search_events(
        self, after_position: int, wanted: EventFilter, *, to_position: int, limit: int = 1000
    ) -> list[RecordedEvent]:
        """The wanted events after a position, up to and with another, in order, at most ``limit``."""

    async def head(self) -> int:
        """The position of the last event; 0 for an empty log."""

    async def find_response(self, request_id: str) -> StoredResponse | None:
        """What was answered to a request id."""

    async def prune_responses(self, recorded_before: int, *, limit: int = 1000) -> int:
        """Delete at most ``limit`` stored responses older than a time (microseconds); how many it were."""
