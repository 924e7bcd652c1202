"""What becomes a snapshot: committed states, the newest of each stream, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from shop_contexts.orders.decider import order
from tests.unit.command_side import CommandSide, command_side
from tests.unit.deciders import Scenario
from tests.unit.order_messages import ORDER, add, added, change, create, created, item, pay
from tests.unit.stores import AWAY, ControlledStore, decided
from twofold_server.commands import snapshots
from twofold_server.commands.snapshots import Snapshots, restore
from twofold_server.errors import Unavailable
from twofold_server.event_store.snapshots import Snapshot

STREAM = f"order-{ORDER}"
STATE = Scenario(order, [created()]).state


class Store(ControlledStore):
    """Tells what snapshots were written together."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[list[tuple[str, int]]] = []
        self._news = asyncio.Event()

    async def write_snapshots(self, batch: Sequence[Snapshot]) -> None:
        """See EventStore."""
        self.written.append([(each.stream_name, each.version) for each in batch])
        await super().write_snapshots(batch)
        self._news.set()

    async def writes(self, count: int) -> None:
        """Wait until so many batches were written."""
        while len(self.written) < count:
            self._news.clear()
            await self._news.wait()

    @property
    def versions(self) -> list[int]:
        """The versions that were written, of whatever stream."""
        return [version for batch in self.written for _, version in batch]


@pytest.fixture
def store() -> Store:
    """A store that tells of its snapshots."""
    return Store()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PAUSE", 0)


@asynccontextmanager
async def writing(offered: Snapshots) -> AsyncIterator[None]:
    task = asyncio.create_task(offered.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def server(store: Store) -> AsyncIterator[CommandSide]:
    """A server that takes a snapshot after each event."""
    found = command_side(store, snapshot_every=1)
    async with writing(found.snapshots):
        yield found


# --- when one is due -----------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(0, 200), st.integers(0, 60))
def test_one_is_due_when_a_multiple_of_the_interval_is_reached_or_passed(
    every: int, before: int, count: int
) -> None:
    after = before + count
    passed = any(version % every == 0 for version in range(before + 1, after + 1))
    assert Snapshots(Store(), every=every).due(order, before, after) == passed


def test_none_is_ever_due_where_none_are_wanted() -> None:
    assert not any(Snapshots(Store(), every=0).due(order, n, n + 1) for n in range(300))


# --- which states --------------------------------------------------------------------------------


async def test_what_is_not_committed_yet_is_not_stored(server: CommandSide, store: Store) -> None:
    store.hold()
    sending = asyncio.create_task(server.send(create()))
    await store.batch_waits()
    await decided()
    assert store.written == []
    store.release()
    await sending
    await store.writes(1)
    assert store.versions == [1]


async def test_what_could_not_be_committed_is_not_stored(server: CommandSide, store: Store) -> None:
    store.failures.append(AWAY)
    with pytest.raises(Unavailable):
        await server.send(create())
    await decided()
    assert store.written == []


async def test_what_nothing_happened_for_is_not_stored(server: CommandSide, store: Store) -> None:
    await server.send(create(item("tea", 2)))
    await store.writes(1)
    await server.send(change("tea", 2))
    await server.send(add("milk"), validate_only=True)
    await server.send(pay(), request_id="7d9f0f5e-7a55-4ac4-a55b-1b5f5d1f2a01")
    await store.writes(2)
    await server.send(pay(), request_id="7d9f0f5e-7a55-4ac4-a55b-1b5f5d1f2a01")
    await decided()
    assert store.versions == [1, 2]


async def test_a_state_is_stored_as_it_was_at_its_version_whatever_comes_after(
    server: CommandSide, store: Store
) -> None:
    store.hold()
    sending = [asyncio.create_task(server.send(each)) for each in (create(), add("milk"))]
    await store.batch_waits()
    await decided()
    store.failures.append(None)
    store.failures.append(AWAY)
    store.release()
    await asyncio.gather(*sending, return_exceptions=True)
    await store.writes(1)
    loaded = await store.load_stream(STREAM, state_revision=order.state_revision)
    assert loaded.snapshot is not None
    facts = [created(), added("milk")][: loaded.snapshot.version]
    assert restore(order, loaded.snapshot) == Scenario(order, facts).state


# --- how they are written ------------------------------------------------------------------------


async def test_of_each_stream_the_newest_is_written_once(store: Store) -> None:
    offered = Snapshots(store, every=1)
    for version in range(1, 6):
        offered.offer("order-1", order, version, STATE)
        offered.offer("order-2", order, version * 10, STATE)
    async with writing(offered):
        await store.writes(1)
        await decided()
    assert store.written == [[("order-1", 5), ("order-2", 50)]]


async def test_a_few_at_a_time_are_written_so_that_no_command_waits_long(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "BATCH", 3)
    offered = Snapshots(store, every=1)
    for n in range(8):
        offered.offer(f"order-{n}", order, 1, STATE)
    async with writing(offered):
        await store.writes(3)
    assert [len(batch) for batch in store.written] == [3, 3, 2]
    assert sorted(name for batch in store.written for name, _ in batch) == [f"order-{n}" for n in range(8)]


async def test_beyond_its_bound_new_streams_are_dropped_and_known_ones_kept_up_to_date(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_WAITING", 2)
    offered = Snapshots(store, every=1)
    for name, version in [("order-1", 1), ("order-2", 1), ("order-3", 1), ("order-1", 2)]:
        offered.offer(name, order, version, STATE)
    async with writing(offered):
        await store.writes(1)
    assert store.written == [[("order-1", 2), ("order-2", 1)]]


async def test_an_older_snapshot_never_takes_the_place_of_a_newer_one(store: Store) -> None:
    offered = Snapshots(store, every=1)
    async with writing(offered):
        for writes, version in enumerate((7, 3), start=1):
            offered.offer(STREAM, order, version, STATE)
            await store.writes(writes)
    loaded = await store.load_stream(STREAM, state_revision=order.state_revision)
    assert loaded.snapshot is not None
    assert loaded.snapshot.version == 7


async def test_a_state_that_cannot_be_stored_does_not_end_all_snapshots(store: Store) -> None:
    offered = Snapshots(store, every=1)
    with capture_logs() as lines:
        async with writing(offered):
            offered.offer("order-1", order, 1, object())
            await decided()
            offered.offer("order-2", order, 2, STATE)
            await store.writes(1)
    assert store.written == [[("order-2", 2)]]
    assert [(line["log_level"], line["event"]) for line in lines] == [("error", "snapshots not stored")]


@pytest.mark.parametrize("stored", [b"", b"\xc1", msgspec.msgpack.encode({"status": "?"}), b"\x01"])
def test_what_is_no_state_is_restored_as_nothing(stored: Any) -> None:
    with capture_logs() as lines:
        assert restore(order, Snapshot(STREAM, 1, order.state_revision, stored)) is None
    assert [line["log_level"] for line in lines] == ["warning"]
