"""Streams in memory: whatever was kept, forgotten or stored apart, the state is the fold of the log."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import assume, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from shop.orders.v1.command_service_pb2 import CreateOrderRequest
from shop_contexts.orders.decider import order
from tests.appends import append, new_event
from tests.unit.command_side import ORDERS
from tests.unit.deciders import Scenario
from tests.unit.order_messages import ORDER, added, cancelled, created, item, paid
from tests.unit.stores import AWAY, ControlledStore, decided
from tests.unit.test_order_decider_properties import histories
from tests.unit.valid_orders import changes_of_orders, creations
from twofold_server.commands import snapshots, streams
from twofold_server.commands.streams import HotStreams, Stream
from twofold_server.errors import Unavailable
from twofold_server.event_store.snapshots import LoadedStream, Snapshot
from twofold_server.messages.events import EventCodec

NAME = f"order-{ORDER}"
CODEC = EventCodec([ORDERS])


class Store(ControlledStore):
    """Tells what was loaded; loads can be held, and fail."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def load_stream(self, stream_name: str, *, state_revision: int, limit: int = 1000) -> LoadedStream:
        """See EventStore."""
        self.loads.append(stream_name)
        await self.gate.wait()
        if self.away:
            raise AWAY
        return await super().load_stream(stream_name, state_revision=state_revision, limit=limit)

    async def happened(self, *facts: Message, name: str = NAME) -> None:
        """These facts are in the log."""
        await append(
            self, name, events=[new_event(f.DESCRIPTOR.full_name, data=f.SerializeToString()) for f in facts]
        )


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def hot(store: Store) -> HotStreams:
    return HotStreams(store, CODEC, capacity=2)


def snapshot(state: Any, version: int) -> Snapshot:
    return snapshots._snapshot(NAME, order, version, state)


# --- the state -----------------------------------------------------------------------------------


@given(creations, changes_of_orders, st.data())
async def test_a_snapshot_and_the_events_after_it_come_to_what_all_events_come_to(
    creation: CreateOrderRequest, changes: list[Message], data: st.DataObject
) -> None:
    """Wherever the snapshot is, of whatever revision, and however many events are read at a time."""
    accepted = list(histories(creation, changes))
    assume(accepted)
    _, _, whole = accepted[-1]
    version = data.draw(st.integers(1, len(whole.past)))
    stored = snapshot(Scenario(order, whole.past[:version]).state, version)
    revision, broken = data.draw(st.sampled_from([0, 0, 1, -1])), data.draw(st.sampled_from([0, 0, 0, 1]))
    stored = Snapshot(NAME, version, stored.state_revision + revision, stored.state[broken:])
    store, page = Store(), data.draw(st.integers(1, 5))
    await store.happened(*whole.past)
    await store.write_snapshots([stored])
    with pytest.MonkeyPatch.context() as patch, capture_logs():
        patch.setattr(streams, "_PAGE", page)
        stream = await HotStreams(store, CODEC, capacity=2).load(NAME, order)
    assert (stream.version, stream.state) == (len(whole.past), whole.state)


async def test_a_snapshot_of_another_shape_is_passed_over_and_told(store: Store, hot: HotStreams) -> None:
    await store.happened(created(), paid())
    await store.write_snapshots([Snapshot(NAME, 1, order.state_revision, b"\x93\x01\x02\x03")])
    with capture_logs() as lines:
        stream = await hot.load(NAME, order)
    assert (stream.version, stream.state) == (2, Scenario(order, [created(), paid()]).state)
    assert [(line["log_level"], line["stream_name"]) for line in lines] == [("warning", NAME)]


async def test_a_stream_that_does_not_exist_is_the_initial_state(hot: HotStreams) -> None:
    stream = await hot.load(NAME, order)
    assert (stream.version, stream.state) == (0, order.initial_state())


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=10))
def test_the_state_is_the_fold_whenever_it_is_asked_for(steps: list[tuple[int, bool]]) -> None:
    past: list[Message] = [created()]
    stream = Stream(NAME, order)
    stream.apply(past)
    for count, is_asked in steps:
        facts = [added("milk", n + 1) for n in range(count)]
        stream.apply(facts)
        past.extend(facts)
        assert stream.version == len(past)
        if is_asked:
            assert stream.state == Scenario(order, past).state
    assert stream.state == Scenario(order, past).state


async def test_a_state_that_turned_out_to_be_wrong_is_read_again(store: Store, hot: HotStreams) -> None:
    await store.happened(created(item("tea", 2)))
    wrong = await hot.load(NAME, order)
    wrong.apply([cancelled()])
    hot.evict(wrong)
    await store.happened(added("milk"))
    right = await hot.load(NAME, order)
    assert wrong.basis.broken
    assert not right.basis.broken
    assert (right.version, right.state) == (
        2,
        Scenario(order, [created(item("tea", 2)), added("milk")]).state,
    )


async def test_a_state_whose_basis_broke_while_it_was_kept_is_read_again(
    store: Store, hot: HotStreams
) -> None:
    await store.happened(created())
    wrong = await hot.load(NAME, order)
    wrong.apply([paid()])
    wrong.basis.broken = True
    right = await hot.load(NAME, order)
    assert (right.version, right.state) == (1, Scenario(order, [created()]).state)


async def test_who_evicts_late_does_not_evict_what_was_read_since(store: Store, hot: HotStreams) -> None:
    await store.happened(created())
    wrong = await hot.load(NAME, order)
    hot.evict(wrong)
    right = await hot.load(NAME, order)
    hot.evict(wrong)
    assert await hot.load(NAME, order) is right


# --- what is kept --------------------------------------------------------------------------------


async def test_what_is_kept_is_not_read_again(store: Store, hot: HotStreams) -> None:
    first = await hot.load(NAME, order)
    assert await hot.load(NAME, order) is first
    assert store.loads == [NAME]


async def test_a_stream_that_begins_is_not_read_at_all(store: Store, hot: HotStreams) -> None:
    begun = hot.begin(NAME, order)
    assert await hot.load(NAME, order) is begun
    assert store.loads == []


async def test_what_was_used_longest_ago_is_forgotten(store: Store, hot: HotStreams) -> None:
    for name in ("order-a", "order-b", "order-a", "order-c", "order-a", "order-b"):
        await hot.load(name, order)
    assert store.loads == ["order-a", "order-b", "order-c", "order-b"]


async def test_a_stream_that_is_in_use_is_found_though_it_fell_out_of_memory(
    store: Store, hot: HotStreams
) -> None:
    held = await hot.load(NAME, order)
    held.apply([created()])
    for name in ("order-a", "order-b", "order-c"):
        await hot.load(name, order)
    assert await hot.load(NAME, order) is held
    assert await hot.load("order-c", order) is not held
    assert store.loads == [NAME, "order-a", "order-b", "order-c"]


async def test_a_stream_that_nobody_uses_is_not_kept_beyond_the_bound(store: Store, hot: HotStreams) -> None:
    seen = weakref.ref(await hot.load(NAME, order))
    for name in ("order-a", "order-b"):
        await hot.load(name, order)
    gc.collect()
    assert seen() is None
    assert len(hot._cache._values) == 2


# --- those who wait ------------------------------------------------------------------------------


def using(hot: HotStreams, done: list[object], who: object) -> Callable[[], Any]:
    async def use() -> None:
        await hot.load(NAME, order)
        done.append(who)

    return use


async def test_all_who_come_while_a_stream_is_read_share_it_and_go_on_in_the_order_of_coming(
    store: Store, hot: HotStreams
) -> None:
    store.gate.clear()
    done: list[object] = []
    waiting = [asyncio.create_task(using(hot, done, n)()) for n in range(5)]
    await decided()
    store.gate.set()
    await asyncio.gather(*waiting)
    assert done == list(range(5))
    assert store.loads == [NAME]


@given(st.lists(st.integers(0, 8), min_size=1, max_size=12))
async def test_whoever_comes_while_others_are_about_to_go_on_goes_on_after_them(turns: list[int]) -> None:
    """Each comes after so many turns of the event loop, the stream being read meanwhile."""
    store = Store()
    hot = HotStreams(store, CODEC, capacity=2)
    came: list[object] = []
    done: list[object] = []

    async def come(who: int, after: int) -> None:
        for _ in range(after):
            await asyncio.sleep(0)
        came.append(who)
        await using(hot, done, who)()

    await asyncio.gather(*(come(who, after) for who, after in enumerate(turns)))
    assert done == came
    assert store.loads == [NAME]
    assert hot._waiting == {}


async def test_who_comes_after_a_state_broke_gets_a_new_one_also_while_others_go_on(
    store: Store, hot: HotStreams
) -> None:
    await store.happened(created())
    wrong = await hot.load(NAME, order)
    assert hot._waiting, "this one has not yet gone on"
    hot.evict(wrong)
    right, other = await asyncio.gather(hot.load(NAME, order), hot.load(NAME, order))
    assert right is other
    assert right is not wrong
    assert not right.basis.broken


async def test_who_gives_up_while_waiting_fails_nobody_and_costs_no_turn(
    store: Store, hot: HotStreams
) -> None:
    store.gate.clear()
    done: list[object] = []
    waiting = [asyncio.create_task(using(hot, done, n)()) for n in range(4)]
    await decided()
    for task in waiting[::2]:
        task.cancel()
    store.gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert done == [1, 3]


async def test_what_is_read_for_someone_who_gave_up_is_kept_for_the_next(
    store: Store, hot: HotStreams
) -> None:
    store.gate.clear()
    task = asyncio.create_task(hot.load(NAME, order))
    await decided()
    task.cancel()
    store.gate.set()
    await asyncio.gather(task, return_exceptions=True)
    await hot.load(NAME, order)
    assert store.loads == [NAME]


async def test_a_store_that_is_away_fails_all_who_wait_and_the_next_one_tries_again(
    store: Store, hot: HotStreams
) -> None:
    store.away = True
    outcomes = await asyncio.gather(*(hot.load(NAME, order) for _ in range(3)), return_exceptions=True)
    assert outcomes == [AWAY] * 3
    store.away = False
    assert (await hot.load(NAME, order)).version == 0
    assert store.loads == [NAME] * 2


async def test_a_store_that_is_away_when_nobody_waits_any_longer_harms_nobody(
    store: Store, hot: HotStreams
) -> None:
    store.gate.clear()
    store.away = True
    task = asyncio.create_task(hot.load(NAME, order))
    await decided()
    task.cancel()
    store.gate.set()
    await decided()
    with pytest.raises(Unavailable):
        await hot.load(NAME, order)
