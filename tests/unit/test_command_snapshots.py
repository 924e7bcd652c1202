"""Snapshots of states: now and then, in the background, and never instead of the truth."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from google.protobuf.message import Message
from hypothesis import given

from shop.orders.v1.command_service_pb2 import CreateOrderRequest
from shop.orders.v1.values_pb2 import OrderStatus
from shop_contexts.orders import context
from shop_contexts.orders.decider import order
from tests.unit.command_side import CommandSide, command_side
from tests.unit.order_messages import ORDER, add, create, item, pay, remove, ship
from tests.unit.stores import AWAY, ControlledStore
from tests.unit.test_order_decider_properties import changes_of_orders, creations, histories
from twofold_server.commands import snapshots
from twofold_server.commands.snapshots import restore
from twofold_server.event_store.snapshots import Snapshot

STREAM = f"order-{ORDER}"


class Store(ControlledStore):
    """Tells what snapshots were written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[int] = []
        self.news = asyncio.Event()
        self.away = 0

    async def write_snapshots(self, batch: Sequence[Snapshot]) -> None:
        """See EventStore."""
        self.news.set()
        if self.away:
            self.away -= 1
            raise AWAY
        self.written += [snapshot.version for snapshot in batch]
        await super().write_snapshots(batch)

    async def stored(self, version: int) -> None:
        """Wait until a snapshot of this version is stored."""
        while version not in self.written:
            await self.news.wait()
            self.news.clear()


@pytest.fixture
def store() -> Store:
    """A store that tells of its snapshots."""
    return Store()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PAUSE", 0)


@asynccontextmanager
async def running(server: CommandSide) -> AsyncIterator[CommandSide]:
    task = asyncio.create_task(server.snapshots.run())
    try:
        yield server
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def add_until(server: CommandSide, version: int) -> None:
    while (await server.send(add("tea", 1))).version < version:
        pass


async def test_a_snapshot_is_taken_each_time_so_many_events_have_come(store: Store) -> None:
    async with running(command_side(store, snapshot_every=3)) as server:
        await server.send(create())
        await add_until(server, 5)
        await store.stored(3)
        await add_until(server, 8)
        await store.stored(6)
        assert store.written == [3, 6]


async def test_with_one_event_between_them_the_current_state_is_always_stored(store: Store) -> None:
    async with running(command_side(store, snapshot_every=1)) as server:
        await server.send(create())
        for version in range(1, 5):
            await store.stored(version)
            await server.send(add("tea", 1))


async def test_a_decider_may_say_otherwise_than_the_settings(store: Store) -> None:
    often = dataclasses.replace(context, deciders=[dataclasses.replace(order, snapshot_every=2)])
    async with running(command_side(store, snapshot_every=0, manifest=often)) as server:
        await server.send(create())
        await add_until(server, 3)
        await store.stored(2)


async def test_no_snapshots_are_taken_where_none_are_wanted(store: Store) -> None:
    async with running(command_side(store, snapshot_every=0)) as server:
        await server.send(create())
        await add_until(server, 9)
        await asyncio.sleep(0)
        assert store.written == []


async def test_a_snapshot_holds_the_state_that_was_committed_also_after_a_conflict(store: Store) -> None:
    async with running(command_side(store, snapshot_every=3)) as server:
        await server.send(create())
        await command_side(store).send(pay())
        await server.send(ship())
        await store.stored(3)
        loaded = await store.load_stream(STREAM, state_revision=order.state_revision)
        assert loaded.snapshot is not None
        state = restore(order, loaded.snapshot)
        assert state is not None
        assert state.status == OrderStatus.ORDER_STATUS_SHIPPED


async def test_a_restarted_server_goes_on_from_the_snapshot_and_the_events_after_it(store: Store) -> None:
    async with running(command_side(store, snapshot_every=2)) as server:
        await server.send(create(item("tea", 2)))
        await server.send(add("milk"))
        await store.stored(2)
    await command_side(store).send(add("jam"))
    restarted = command_side(store)
    assert (await restarted.send(remove("tea"))).version == 4
    assert (await restarted.send(remove("milk"))).version == 5


async def test_a_snapshot_of_another_state_revision_is_passed_over(store: Store) -> None:
    server = command_side(store)
    await server.send(create())
    await add_until(server, 3)
    await store.write_snapshots([Snapshot(STREAM, 3, 7, b"of another shape")])
    assert (await command_side(store).send(add("milk"))).version == 4


async def test_a_store_that_is_away_costs_a_snapshot_and_nothing_else(store: Store) -> None:
    async with running(command_side(store, snapshot_every=1)) as server:
        store.away = 1
        await server.send(create())
        await store.news.wait()
        await server.send(add("milk"))
        await store.stored(2)
        assert store.written == [2]


@given(creations, changes_of_orders)
def test_the_state_of_any_order_survives_its_snapshot(
    creation: CreateOrderRequest, asked: list[Message]
) -> None:
    for _, _, after in histories(creation, asked):
        stored = snapshots._snapshot(STREAM, order, 1, after.state)
        assert restore(order, stored) == after.state
