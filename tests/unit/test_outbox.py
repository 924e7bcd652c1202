"""What the relay publishes next: from memory where it can, from the log where it must, never out of order."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from twofold_server.event_store import expected_version
from twofold_server.event_store.appending import Append
from twofold_server.event_store.events import NewEvent, RecordedEvent
from twofold_server.event_store.memory import MemoryEventStore
from twofold_server.modelling import EventMetadata
from twofold_server.publishing.config import RelayConfig
from twofold_server.publishing.outbox import GapInLog, Outbox


class Store(MemoryEventStore):
    """Counts how often the log is read."""

    reads = 0

    async def read_events(
        self, after_position: int, *, limit: int = 1000, to_position: int | None = None
    ) -> list[RecordedEvent]:
        self.reads += 1
        return await super().read_events(after_position, limit=limit, to_position=to_position)

    async def commit(self, count: int, data: bytes = b"x") -> list[RecordedEvent]:
        event = [NewEvent(str(uuid.uuid4()), "a.B", 1, data, EventMetadata()) for _ in range(count)]
        await self.append([Append(str(uuid.uuid4()), expected_version.Any(), event, lambda _: b"")])
        return self._events[-count:]


@pytest.fixture
def store() -> Store:
    return Store()


def outbox(store: Store, **changes: int) -> Outbox:
    limits = {"max_window": 10, "max_window_bytes": 1000, **changes}
    return Outbox(store, RelayConfig(servers=[], **limits))


async def taken(box: Outbox, position: int = 0) -> list[list[int]]:
    """The windows that a relay takes, as positions, until there is nothing left."""
    windows = []
    while events := await box.after(position):
        windows.append([event.position for event in events])
        position = windows[-1][-1]
    return windows


async def test_offered_events_are_taken_from_memory_in_windows(store: Store) -> None:
    box = outbox(store)
    for count in (3, 3, 9):
        box.offer(await store.commit(count))
    assert await taken(box) == [list(range(1, 11)), list(range(11, 16))]
    assert store.reads == 0


async def test_a_window_holds_only_so_many_bytes_but_at_least_one_event(store: Store) -> None:
    box = outbox(store, max_window_bytes=250)
    box.offer(await store.commit(3, b"x" * 100))
    box.offer(await store.commit(2, b"x" * 300))
    assert await taken(box) == [[1, 2], [3], [4], [5]]


async def test_commits_of_another_server_in_between_are_read_from_the_log(store: Store) -> None:
    box = outbox(store)
    box.offer(await store.commit(2))
    await store.commit(2)
    box.offer(await store.commit(2))
    assert await taken(box) == [[1, 2, 3, 4], [5, 6]]


@pytest.mark.parametrize("limit", [{"max_backlog": 5}, {"max_backlog_bytes": 50}])
async def test_more_than_memory_may_hold_is_read_from_the_log(store: Store, limit: dict[str, int]) -> None:
    box = outbox(store, **limit)
    for count in (3, 3, 20, 2):
        box.offer(await store.commit(count, b"x" * 10))
        assert sum(len(batch) for batch in box._backlog._batches) <= 5
    assert [position for window in await taken(box) for position in window] == list(range(1, 29))
    assert store.reads > 0


async def test_what_a_notice_tells_is_read_from_the_log(store: Store) -> None:
    box = outbox(store)
    await store.commit(4)
    assert await taken(box) == []
    box.heard(4)
    assert await taken(box) == [[1, 2, 3, 4]]


async def test_what_is_committed_while_nobody_tells_is_seen_by_a_look(store: Store) -> None:
    box = outbox(store)
    await store.commit(4)
    assert await box.look() == 4
    assert await taken(box) == [[1, 2, 3, 4]]


async def test_a_hole_in_the_log_is_told_and_not_passed_over(store: Store) -> None:
    box = outbox(store)
    await store.commit(4)
    del store._events[1]
    box.heard(4)
    with pytest.raises(GapInLog, match="the log has no event at position 1; it is damaged"):
        await box.after(0)


async def test_waiting_ends_with_a_commit_or_with_the_time(store: Store) -> None:
    box = outbox(store)
    assert not await box.wait(0.01)
    waiting = asyncio.create_task(box.wait(60))
    await asyncio.sleep(0)
    box.offer(await store.commit(1))
    assert await waiting
    assert not await box.wait(0.01)
