"""validate_only: what would happen, and nothing does."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.message import Message

from tests.unit.command_side import CommandSide, command_side
from tests.unit.order_messages import add, added, create, created, item, pay, remove, ship
from tests.unit.stores import AWAY, ControlledStore, decided
from twofold.v1.command_pb2 import Receipt
from twofold_server.errors import NotFound, Rejected, Unavailable, VersionConflict

REQUEST = "7d9f0f5e-7a55-4ac4-a55b-1b5f5d1f2a01"


def planned(receipt: Receipt, kind: type[Message]) -> list[Message]:
    facts = []
    for event in receipt.planned_events:
        fact = kind()
        assert event.Unpack(fact)
        facts.append(fact)
    return facts


async def test_it_tells_the_events_that_would_be_recorded(server: CommandSide) -> None:
    receipt = await server.send(create(), validate_only=True)
    assert planned(receipt, type(created())) == [created()]
    assert (receipt.version, receipt.position, receipt.consistency_token) == (1, 0, "")


async def test_it_stores_nothing_and_remembers_nothing(server: CommandSide) -> None:
    await server.send(create(), validate_only=True, request_id=REQUEST)
    assert await server.store.head() == 0
    assert await server.store.find_response(REQUEST) is None
    with pytest.raises(NotFound):
        await server.send(pay())


async def test_it_does_not_use_up_the_request_id(server: CommandSide) -> None:
    await server.send(create(), validate_only=True, request_id=REQUEST)
    assert not (await server.send(create(), request_id=REQUEST)).replayed


async def test_later_commands_do_not_build_on_it(server: CommandSide) -> None:
    await server.send(create(item("tea"), item("milk")))
    for _ in range(2):
        assert (await server.send(remove("tea"), validate_only=True)).version == 2
    assert (await server.send(remove("milk"))).version == 2


async def test_it_is_refused_like_the_command_itself(server: CommandSide) -> None:
    await server.send(create())
    with pytest.raises(Rejected, match="PENDING"):
        await server.send(ship(), validate_only=True)
    with pytest.raises(VersionConflict):
        await server.send(pay(), validate_only=True, expected_version=3)


async def test_it_is_decided_on_the_state_that_other_servers_left(server: CommandSide) -> None:
    await server.send(create())
    await command_side(server.store).send(pay())
    assert (await server.send(ship(), validate_only=True)).version == 3


async def test_it_does_not_stand_on_events_that_then_fail(
    server: CommandSide, store: ControlledStore
) -> None:
    await server.send(create())
    store.failures.append(AWAY)
    store.hold()
    paying = asyncio.create_task(server.send(pay()))
    await store.batch_waits()
    adding = asyncio.create_task(server.send(add("milk"), validate_only=True))
    shipping = asyncio.create_task(server.send(ship(), validate_only=True))
    await decided()
    store.release()
    with pytest.raises(Unavailable):
        await paying
    assert planned(await adding, type(added())) == [added("milk")]
    with pytest.raises(Rejected, match="PENDING"):
        await shipping
    assert await store.head() == 1
