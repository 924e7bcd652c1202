"""Snapshots, in every event store: a shortcut to a state, never the truth."""

from __future__ import annotations

from tests.appends import append
from twofold_server.event_store.snapshots import Snapshot
from twofold_server.event_store.store import EventStore


def snapshot(
    version: int, state: bytes = b"state", *, revision: int = 1, stream: str = "order-1"
) -> Snapshot:
    return Snapshot(stream, version, revision, state)


async def test_a_stream_without_a_snapshot_is_its_events(store: EventStore) -> None:
    events = await append(store, events=3)
    loaded = await store.load_stream("order-1", state_revision=1)
    assert loaded.snapshot is None
    assert loaded.events == list(events)


async def test_an_unknown_stream_loads_as_nothing(store: EventStore) -> None:
    loaded = await store.load_stream("order-1", state_revision=1)
    assert (loaded.snapshot, list(loaded.events)) == (None, [])


async def test_a_stream_loads_as_its_snapshot_and_the_events_after_it(store: EventStore) -> None:
    events = await append(store, events=5)
    stored = snapshot(3, bytes(range(256)))
    await store.write_snapshots([stored])
    loaded = await store.load_stream("order-1", state_revision=1)
    assert loaded.snapshot == stored
    assert loaded.events == list(events[3:])


async def test_events_after_a_snapshot_come_up_to_a_limit(store: EventStore) -> None:
    await append(store, events=6)
    await store.write_snapshots([snapshot(2)])
    loaded = await store.load_stream("order-1", state_revision=1, limit=3)
    assert [e.stream_version for e in loaded.events] == [3, 4, 5]


async def test_a_snapshot_of_another_state_revision_is_passed_over(store: EventStore) -> None:
    events = await append(store, events=4)
    await store.write_snapshots([snapshot(3, revision=1)])
    loaded = await store.load_stream("order-1", state_revision=2)
    assert loaded.snapshot is None
    assert loaded.events == list(events)


async def test_the_newest_version_of_a_snapshot_stays_in_whatever_order_they_come(store: EventStore) -> None:
    await append(store, events=9)
    await store.write_snapshots([snapshot(4, b"four"), snapshot(2, b"two")])
    await store.write_snapshots([snapshot(3, b"three")])
    loaded = await store.load_stream("order-1", state_revision=1)
    assert loaded.snapshot == snapshot(4, b"four")
    await store.write_snapshots([snapshot(8, b"eight")])
    assert (await store.load_stream("order-1", state_revision=1)).snapshot == snapshot(8, b"eight")


async def test_a_newer_state_revision_replaces_an_older_one_and_not_the_other_way_round(
    store: EventStore,
) -> None:
    await append(store, events=9)
    await store.write_snapshots([snapshot(8, revision=1)])
    await store.write_snapshots([snapshot(5, revision=2)])
    await store.write_snapshots([snapshot(9, revision=1)])
    assert (await store.load_stream("order-1", state_revision=2)).snapshot == snapshot(5, revision=2)
    assert (await store.load_stream("order-1", state_revision=1)).snapshot is None


async def test_many_snapshots_are_written_together_each_to_its_stream(store: EventStore) -> None:
    streams = [f"order-{n}" for n in range(150)]
    await store.write_snapshots([snapshot(1, stream.encode(), stream=stream) for stream in streams])
    for stream in streams[::30]:
        loaded = await store.load_stream(stream, state_revision=1)
        assert loaded.snapshot == snapshot(1, stream.encode(), stream=stream)


async def test_writing_no_snapshots_is_fine(store: EventStore) -> None:
    await store.write_snapshots([])
