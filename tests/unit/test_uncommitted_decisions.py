"""Decisions on events that are still being committed: as fast as memory, as true as the log."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.command_side import CommandSide, command_side
from tests.unit.order_messages import ORDER, add, added, create, created, item, pay, ship
from tests.unit.stores import AWAY, ControlledStore, decided
from twofold_server.errors import Rejected, Unavailable, VersionConflict


async def test_commands_on_a_hot_aggregate_build_on_each_other_before_they_are_committed(
    server: CommandSide, store: ControlledStore
) -> None:
    store.hold()
    first = asyncio.create_task(server.send(create()))
    await store.batch_waits()
    others = [asyncio.create_task(server.send(command)) for command in (pay(), ship())]
    await decided()
    store.release()
    receipts = await asyncio.gather(first, *others)
    assert [receipt.version for receipt in receipts] == [1, 2, 3]
    assert store.batches == [1, 2]


async def test_hundreds_of_commands_at_once_on_one_aggregate_get_versions_without_a_hole(
    server: CommandSide, store: ControlledStore
) -> None:
    await server.send(create())
    receipts = await asyncio.gather(*(server.send(add("tea", 1)) for _ in range(400)))
    assert sorted(receipt.version for receipt in receipts) == list(range(2, 402))
    events = await store.read_events(0)
    assert [e.stream_version for e in events] == [e.position for e in events] == list(range(1, 402))
    assert len(store.batches) < 20, "they share commits"


async def test_hundreds_of_commands_through_two_servers_are_each_applied_once(store: ControlledStore) -> None:
    servers = [command_side(store), command_side(store)]
    await servers[0].send(create())
    sent = [servers[n % 2].send(add("tea", 1)) for n in range(200)]
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    accepted = [o for o in outcomes if not isinstance(o, BaseException)]
    assert all(isinstance(o, VersionConflict) for o in outcomes if isinstance(o, BaseException))
    assert sorted(receipt.version for receipt in accepted) == list(range(2, len(accepted) + 2))
    assert await store.head() == len(accepted) + 1


async def test_a_refusal_waits_for_what_it_stands_on(server: CommandSide, store: ControlledStore) -> None:
    await server.send(create())
    store.hold()
    paying = asyncio.create_task(server.send(pay()))
    await store.batch_waits()
    refused = asyncio.create_task(server.send(add("milk")))
    await decided()
    assert not refused.done(), "the payment that forbids it is not committed yet"
    store.release()
    assert (await paying).version == 2
    with pytest.raises(Rejected, match="PAID"):
        await refused


async def test_a_refusal_on_events_that_then_fail_is_decided_again(
    server: CommandSide, store: ControlledStore
) -> None:
    await server.send(create())
    store.failures.append(AWAY)
    store.hold()
    paying = asyncio.create_task(server.send(pay()))
    await store.batch_waits()
    adding = asyncio.create_task(server.send(add("milk")))
    await decided()
    store.release()
    with pytest.raises(Unavailable):
        await paying
    assert (await adding).version == 2
    assert await server.facts(ORDER) == [created(), added("milk")]


async def test_what_was_decided_on_events_that_then_fail_is_decided_again(
    server: CommandSide, store: ControlledStore
) -> None:
    await server.send(create())
    store.failures.append(AWAY)
    store.hold()
    paying = asyncio.create_task(server.send(pay()))
    await store.batch_waits()
    shipping = asyncio.create_task(server.send(ship()))
    await decided()
    store.release()
    with pytest.raises(Unavailable):
        await paying
    with pytest.raises(Rejected, match="PENDING"):
        await shipping
    assert await server.facts(ORDER) == [created()]


async def test_a_refusal_is_not_told_while_another_servers_event_is_missing_from_it(
    server: CommandSide, store: ControlledStore
) -> None:
    """Our own uncommitted event has the version that another server's committed event took."""
    other = command_side(store)
    await server.send(create(item("tea"), item("milk")))
    await other.send(pay())
    store.hold()
    adding = asyncio.create_task(server.send(add("jam")))
    shipping = asyncio.create_task(server.send(ship()))
    await store.batch_waits()
    await decided()
    store.release()
    assert (await shipping).version == 3, "it was paid, by the other server"
    with pytest.raises(Rejected, match="PAID"):
        await adding
