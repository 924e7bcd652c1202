"""Load, decide, append: what a caller may rely on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence

import pytest

from tests.unit.command_side import ORDERS, CommandSide, command_side
from tests.unit.order_messages import ORDER, add, change, create, created, item, pay, remove, ship
from tests.unit.stores import ControlledStore
from twofold_server.commands.execution import ATTEMPTS, UndeclaredRejection
from twofold_server.errors import AlreadyExists, Contention, NotFound, Rejected, VersionConflict
from twofold_server.event_store.appending import Append, AppendOutcome
from twofold_server.event_store.memory import MemoryEventStore
from twofold_server.messages.tokens import token_position
from twofold_server.modelling import EventMetadata

REQUEST = "7d9f0f5e-7a55-4ac4-a55b-1b5f5d1f2a01"


# --- what is stored and answered -----------------------------------------------------------------


async def test_a_receipt_tells_what_was_stored_and_how_to_read_it(server: CommandSide) -> None:
    await server.send(create(order_id="01932f0a-1111-7000-8000-000000000002"))
    receipt = await server.send(create())
    assert (receipt.aggregate_id, receipt.version, receipt.position) == (ORDER, 1, 2)
    assert token_position(receipt.consistency_token, server.store.log_id) == 2
    assert not receipt.replayed
    assert await server.facts(ORDER) == [created()]


async def test_an_id_that_is_left_out_is_given_by_the_server(server: CommandSide) -> None:
    receipts = [await server.send(create(order_id="")) for _ in range(2)]
    assert len({receipt.aggregate_id for receipt in receipts}) == 2
    for receipt in receipts:
        [fact] = await server.facts(receipt.aggregate_id)
        assert fact.order_id == receipt.aggregate_id  # type: ignore[attr-defined]


async def test_events_know_where_they_came_from(server: CommandSide) -> None:
    said = {"twofold-correlation-id": "conversation", "twofold-actor": "ada", "traceparent": "00-1-2-01"}
    await server.send(create(), request_id=REQUEST, metadata=said)
    [event] = await server.store.read_events(0)
    assert event.metadata == EventMetadata("conversation", REQUEST, "ada", "00-1-2-01")
    assert event.revision == 1


async def test_without_a_correlation_id_the_request_begins_a_conversation(server: CommandSide) -> None:
    await server.send(create(), request_id=REQUEST)
    [event] = await server.store.read_events(0)
    assert event.metadata.correlation_id == REQUEST


async def test_a_command_that_changes_nothing_is_accepted_at_the_version_there_is(
    server: CommandSide,
) -> None:
    await server.send(create(item("tea", 2)))
    receipt = await server.send(change("tea", 2))
    assert (receipt.version, receipt.position) == (1, 1)
    assert await server.store.head() == 1


async def test_a_restarted_server_goes_on_from_the_log(server: CommandSide) -> None:
    await server.send(create(item("tea", 2)))
    await server.send(add("milk"))
    assert (await command_side(server.store).send(remove("tea"))).version == 3


@pytest.mark.parametrize("capacity", [0, 1, 2])
async def test_a_server_that_remembers_next_to_nothing_answers_all_the_same(
    store: ControlledStore, capacity: int
) -> None:
    server = command_side(store, capacity=capacity)
    orders = [(await server.send(create(order_id=""))).aggregate_id for _ in range(4)]
    sent = (server.send(add("milk", order_id=order)) for order in orders * 3)
    receipts = await asyncio.gather(*sent)
    assert sorted(receipt.version for receipt in receipts) == [2] * 4 + [3] * 4 + [4] * 4


# --- refusals ------------------------------------------------------------------------------------


async def test_an_unknown_aggregate_is_not_found(server: CommandSide) -> None:
    with pytest.raises(NotFound) as refusal:
        await server.send(pay())
    assert refusal.value.reason == "ORDER_NOT_FOUND"
    assert await server.store.head() == 0


async def test_an_id_can_be_taken_once(server: CommandSide) -> None:
    await server.send(create())
    with pytest.raises(AlreadyExists) as refusal:
        await server.send(create())
    assert refusal.value.reason == "ORDER_ALREADY_EXISTS"
    assert await server.store.head() == 1


async def test_the_decider_refuses_and_nothing_is_stored(server: CommandSide) -> None:
    await server.send(create())
    with pytest.raises(Rejected) as refusal:
        await server.send(ship(), request_id=REQUEST)
    assert refusal.value.reason == "ORDER_NOT_PAID"
    assert await server.store.head() == 1
    assert await server.store.find_response(REQUEST) is None


async def test_a_rejection_that_the_contract_does_not_declare_is_a_mistake(store: ControlledStore) -> None:
    quiet = {
        name: dataclasses.replace(command, rejections=frozenset())
        for name, command in ORDERS.commands.items()
    }
    server = command_side(store, contract=dataclasses.replace(ORDERS, commands=quiet))
    await server.send(create())
    with pytest.raises(UndeclaredRejection, match="ShipOrder does not declare ORDER_NOT_PAID"):
        await server.send(ship())


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_another_version_than_expected_is_a_conflict_with_both(
    server: CommandSide, expected: int
) -> None:
    await server.send(create())
    await server.send(add("milk"))
    with pytest.raises(VersionConflict) as conflict:
        await server.send(add("jam"), expected_version=expected)
    assert conflict.value.metadata == {
        "stream_name": f"order-{ORDER}",
        "expected": str(expected),
        "actual": "2",
    }
    assert await server.store.head() == 2


async def test_the_expected_version_is_accepted(server: CommandSide) -> None:
    assert (await server.send(create(), expected_version=0)).version == 1
    assert (await server.send(add("milk"), expected_version=1)).version == 2


# --- other servers -------------------------------------------------------------------------------


async def test_a_conflict_with_another_server_is_decided_again_on_fresh_state(server: CommandSide) -> None:
    other = command_side(server.store)
    await server.send(create(item("tea", 2)))
    await other.send(add("milk"))
    receipt = await server.send(remove("tea"))
    assert receipt.version == 3
    with pytest.raises(Rejected, match="last item"):
        await other.send(remove("milk"))


async def test_a_refusal_on_stale_state_is_decided_again_before_it_is_told(server: CommandSide) -> None:
    other = command_side(server.store)
    await server.send(create())
    with pytest.raises(NotFound):
        await server.send(pay(order_id="01932f0a-1111-7000-8000-000000000009"))
    await other.send(pay())
    assert (await server.send(ship())).version == 3  # this server still had it as PENDING


async def test_an_expected_version_that_another_server_reached_is_accepted(server: CommandSide) -> None:
    await server.send(create())
    await command_side(server.store).send(add("milk"))
    assert (await server.send(add("jam"), expected_version=2)).version == 3


async def test_an_expected_version_that_another_server_passed_is_a_conflict(server: CommandSide) -> None:
    await server.send(create())
    await command_side(server.store).send(add("milk"))
    with pytest.raises(VersionConflict) as conflict:
        await server.send(add("jam"), expected_version=1)
    assert conflict.value.metadata["actual"] == "2"


class Restless(MemoryEventStore):
    """Another server is always faster on one stream."""

    async def append(self, batch: Sequence[Append]) -> list[AppendOutcome]:
        """See EventStore."""
        rival = command_side(MemoryEventStore())
        rival.store._events, rival.store._versions = self._events, self._versions  # type: ignore[attr-defined]
        if self._versions:
            with contextlib.suppress(Rejected):
                await rival.send(add("milk"))
        return await super().append(batch)


async def test_endless_contention_is_told_after_a_bounded_number_of_attempts() -> None:
    server = command_side(store := Restless())
    await server.send(create())
    with pytest.raises(Contention):
        await server.send(add("jam"))
    assert await store.stream_version(f"order-{ORDER}") == 1 + ATTEMPTS
    assert all(fact.product_id == "milk" for fact in (await server.facts(ORDER))[1:])  # type: ignore[attr-defined]
