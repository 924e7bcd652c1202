"""The in-memory twin of the event store, for unit tests: the same rules, nothing on disk."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from twofold_server.event_store.appending import Append, AppendOutcome, StoredResponse, plan_append
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.filters import EventFilter
from twofold_server.event_store.snapshots import LoadedStream, Snapshot


class MemoryEventStore:
    """An event store in a list."""

    def __init__(self) -> None:
        self.log_id = str(uuid.uuid4())
        self._events: list[RecordedEvent] = []
        self._versions: dict[str, int] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._responses: dict[str, tuple[int, StoredResponse]] = {}

    async def append(self, batch: Sequence[Append]) -> list[AppendOutcome]:
        """See EventStore."""
        now = time.time_ns() // 1000
        plan = plan_append(
            batch,
            head=len(self._events),
            versions=self._versions,
            responses={key: stored for key, (_, stored) in self._responses.items()},
            recorded_at=now,
        )
        self._events += plan.events
        self._versions |= plan.versions
        self._responses |= {key: (now, stored) for key, stored in plan.responses.items()}
        return plan.outcomes

    async def read_stream(
        self, stream_name: str, *, from_version: int = 1, to_version: int | None = None, limit: int = 1000
    ) -> list[RecordedEvent]:
        """See EventStore."""
        end = to_version if to_version is not None else len(self._events)
        found = [
            e
            for e in self._events
            if e.stream_name == stream_name and from_version <= e.stream_version <= end
        ]
        return found[:limit]

    async def load_stream(self, stream_name: str, *, state_revision: int, limit: int = 1000) -> LoadedStream:
        """See EventStore."""
        stored = self._snapshots.get(stream_name)
        snapshot = stored if stored is not None and stored.state_revision == state_revision else None
        start = snapshot.version + 1 if snapshot else 1
        return LoadedStream(snapshot, await self.read_stream(stream_name, from_version=start, limit=limit))

    async def write_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """See EventStore."""
        for new in snapshots:
            old = self._snapshots.get(new.stream_name)
            if old is None or (old.state_revision, old.version) < (new.state_revision, new.version):
                self._snapshots[new.stream_name] = new

    async def stream_version(self, stream_name: str) -> int:
        """See EventStore."""
        return self._versions.get(stream_name, 0)

    async def read_events(
        self, after_position: int, *, limit: int = 1000, to_position: int | None = None
    ) -> list[RecordedEvent]:
        """See EventStore."""
        return self._events[after_position:to_position][:limit]

    async def search_events(
        self, after_position: int, wanted: EventFilter, *, to_position: int, limit: int = 1000
    ) -> list[RecordedEvent]:
        """See EventStore."""
        return [e for e in self._events[after_position:to_position] if wanted.matches(e)][:limit]

    async def head(self) -> int:
        """See EventStore."""
        return len(self._events)

    async def find_response(self, request_id: str) -> StoredResponse | None:
        """See EventStore."""
        _, stored = self._responses.get(request_id, (0, None))
        return stored

    async def prune_responses(self, recorded_before: int, *, limit: int = 1000) -> int:
        """See EventStore."""
        old = [key for key, (at, _) in self._responses.items() if at < recorded_before][:limit]
        for key in old:
            del self._responses[key]
        return len(old)
