"""A request id makes a command exactly-once, whatever happened to the first answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.message import Message

from tests.unit.command_side import CommandSide, command_side
from tests.unit.order_messages import add, cancel, change, create, item, pay, ship
from twofold_server.errors import InvalidRequest, Rejected

REQUEST = "7d9f0f5e-7a55-4ac4-a55b-1b5f5d1f2a01"


async def test_the_same_request_is_answered_again_and_not_done_again(server: CommandSide) -> None:
    first = await server.send(create(order_id=""), request_id=REQUEST)
    again = await server.send(create(order_id=""), request_id=REQUEST)
    assert again.replayed
    again.replayed = False
    assert again == first
    assert await server.store.head() == 1


async def test_a_request_is_answered_again_although_the_state_now_forbids_it(server: CommandSide) -> None:
    await server.send(create())
    first = await server.send(pay(), request_id=REQUEST)
    again = await server.send(pay(), request_id=REQUEST)
    assert (again.replayed, again.version, again.position) == (True, first.version, first.position)


async def test_a_request_is_answered_again_by_another_server_and_after_a_restart(server: CommandSide) -> None:
    await server.send(create(), request_id=REQUEST, expected_version=0)
    for _ in range(2):
        again = await command_side(server.store).send(create(), request_id=REQUEST, expected_version=0)
        assert again.replayed


async def test_the_same_request_twice_at_once_is_done_once(server: CommandSide) -> None:
    await server.send(create())
    receipts = await asyncio.gather(*(server.send(add("tea", 1), request_id=REQUEST) for _ in range(5)))
    assert {receipt.version for receipt in receipts} == {2}
    assert [receipt.replayed for receipt in receipts].count(False) == 1
    assert await server.store.head() == 2


async def test_a_command_decided_behind_a_replayed_one_is_decided_on_the_true_state(
    server: CommandSide,
) -> None:
    await server.send(create(item("tea", 999_998)))
    await server.send(add("tea", 1), request_id=REQUEST)
    replayed, behind = await asyncio.gather(
        server.send(add("tea", 1), request_id=REQUEST), server.send(add("tea", 1))
    )
    assert replayed.replayed
    assert behind.version == 3, "the replayed one did not add to it a second time"


@pytest.mark.parametrize(
    ("first", "other", "options"),
    [
        (add("milk", 1), add("milk", 2), {}),
        (add("milk", 1), add("milk", 1), {"expected_version": 1}),
        (pay(), cancel(), {}),
        (pay(), pay(), {"expected_version": 7}),
    ],
    ids=["another field", "other options", "another command", "options that would be refused"],
)
async def test_a_request_id_that_was_used_for_another_request_is_refused(
    server: CommandSide, first: Message, other: Message, options: dict[str, Any]
) -> None:
    await server.send(create())
    await server.send(first, request_id=REQUEST)
    with pytest.raises(InvalidRequest) as refusal:
        await server.send(other, request_id=REQUEST, **options)
    assert refusal.value.reason == "REQUEST_ID_REUSED"
    assert refusal.value.violations == (("request_id", "was used for another request"),)
    assert await server.store.head() == 2


async def test_a_request_id_is_the_same_in_capital_letters(server: CommandSide) -> None:
    await server.send(create(), request_id=REQUEST)
    assert (await server.send(create(), request_id=REQUEST.upper())).replayed


async def test_a_refused_command_does_not_use_up_its_request_id(server: CommandSide) -> None:
    await server.send(create())
    with pytest.raises(Rejected):
        await server.send(ship(), request_id=REQUEST)
    await server.send(pay())
    assert not (await server.send(ship(), request_id=REQUEST)).replayed


async def test_a_command_that_changed_nothing_is_remembered_too(server: CommandSide) -> None:
    await server.send(create(item("tea", 2)))
    first = await server.send(change("tea", 2), request_id=REQUEST)
    await server.send(add("milk"))
    again = await server.send(change("tea", 2), request_id=REQUEST)
    assert (again.replayed, again.version, again.position) == (True, first.version, first.position)


async def test_commands_without_a_request_id_are_each_done(server: CommandSide) -> None:
    await server.send(create())
    assert [(await server.send(add("tea", 1))).version for _ in range(3)] == [2, 3, 4]
