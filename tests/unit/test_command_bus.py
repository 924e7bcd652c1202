"""The bus: one handler for each command, and middleware in its declared order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1 import query_service_pb2 as queries
from shop_contexts.orders import context
from shop_contexts.orders.decider import order
from tests.unit.command_side import ORDERS
from twofold.v1.command_pb2 import Receipt
from twofold_server.commands.bus import CommandBus, Middleware, Next, find_deciders
from twofold_server.commands.call import CommandCall, CommandResult
from twofold_server.errors import StartupError
from twofold_server.modelling import Context, Decider, EventMetadata

PAY = commands.PayOrderRequest


def manifest(*deciders: Decider[Any]) -> Context:
    return dataclasses.replace(context, deciders=deciders)


def only(decider: Decider[Any], category: str, *, decides: Any = (), evolves: Any = ()) -> Decider[Any]:
    """A decider that does just so much."""
    return dataclasses.replace(
        decider,
        category=category,
        decide={kind: decider.decide.get(kind, _nothing) for kind in decides},
        evolve={kind: decider.evolve.get(kind, _nothing) for kind in evolves},
    )


def _nothing(*_: Any) -> list[Any]:
    return []


def test_every_command_is_given_its_decider() -> None:
    found = find_deciders([(context, ORDERS)])
    assert set(found) == {contract.request for contract in ORDERS.commands.values()}
    assert set(map(id, found.values())) == {id(order)}


def test_deciders_may_share_a_contract() -> None:
    others = set(order.decide) - {PAY}
    payments = only(order, "payment", decides=[PAY])
    found = find_deciders(
        [(manifest(only(order, "order", decides=others, evolves=order.evolve), payments), ORDERS)]
    )
    assert found[PAY] is payments


TWICE = only(order, "payment", decides=[PAY])
WITHOUT_PAY = only(order, "order", decides=set(order.decide) - {PAY}, evolves=order.evolve)
STRANGER = only(order, "order", decides=[*order.decide, queries.GetOrderRequest], evolves=order.evolve)
FORGETFUL = only(order, "order", decides=order.decide, evolves=set(order.evolve) - {facts.OrderPaid})
BOTH = only(order, "payment", evolves=[facts.OrderPaid])


@pytest.mark.parametrize(
    ("deciders", "told"),
    [
        ((WITHOUT_PAY,), "command shop.orders.v1.PayOrderRequest has no handler; add it to .*shop.orders.v1"),
        ((), "has no handler"),
        ((order, TWICE), "command shop.orders.v1.PayOrderRequest has two handlers"),
        ((STRANGER,), "shop.orders.v1.GetOrderRequest is handled in shop.orders.v1, but is no command of it"),
        ((FORGETFUL,), "event shop.orders.v1.OrderPaid is evolved by 0 deciders"),
        ((order, BOTH), "event shop.orders.v1.OrderPaid is evolved by 2 deciders"),
        ((dataclasses.replace(order, category=""),), "category '' in shop.orders.v1 must be a word"),
        ((dataclasses.replace(order, category="web-order"),), "category 'web-order' .* without a dash"),
        ((order, only(order, "order")), "category 'order' of shop.orders.v1 is taken by shop.orders.v1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_the_manifest_stops_the_start_and_names_it(
    deciders: tuple[Decider[Any], ...], told: str
) -> None:
    with pytest.raises(StartupError, match=told) as refusal:
        find_deciders([(manifest(*deciders), ORDERS)])
    assert "\n" not in str(refusal.value)


def test_what_is_evolved_must_be_an_event_of_the_contract() -> None:
    odd = only(order, "order", decides=order.decide, evolves=[*order.evolve, commands.PayOrderResponse])
    with pytest.raises(StartupError, match=r"shop\.orders\.v1\.PayOrderResponse"):
        find_deciders([(manifest(odd), ORDERS)])


# --- middleware ----------------------------------------------------------------------------------


def a_call() -> CommandCall:
    contract = ORDERS.commands["shop.orders.v1.PayOrderRequest"]
    return CommandCall(contract, PAY(order_id="1"), "1", False, "id", b"", EventMetadata())


def noting(name: str, notes: list[str]) -> Middleware:
    async def note(call: CommandCall, proceed: Next) -> CommandResult:
        notes.append(f"{name} before")
        try:
            return await proceed(call)
        finally:
            notes.append(f"{name} after")

    return note


def handling(notes: list[str], fails: Callable[[], None] = lambda: None) -> Next:
    async def handle(call: CommandCall) -> CommandResult:
        notes.append(f"handler of {call.aggregate_id}")
        fails()
        return CommandResult(b"response", Receipt(version=3))

    return handle


async def test_the_first_middleware_is_outermost() -> None:
    notes: list[str] = []
    bus = CommandBus(handling(notes), [noting("first", notes), noting("second", notes)])
    assert (await bus.dispatch(a_call())).response == b"response"
    assert notes == ["first before", "second before", "handler of 1", "second after", "first after"]


async def test_a_bus_without_middleware_goes_straight_to_the_handler() -> None:
    notes: list[str] = []
    assert (await CommandBus(handling(notes), []).dispatch(a_call())).receipt.version == 3


async def test_middleware_may_change_the_call_and_may_refuse_it() -> None:
    notes: list[str] = []

    async def renames(call: CommandCall, proceed: Next) -> CommandResult:
        return await proceed(msgspec.structs.replace(call, aggregate_id="2"))

    async def refuses(call: CommandCall, proceed: Next) -> CommandResult:
        raise PermissionError("not you")

    await CommandBus(handling(notes), [renames]).dispatch(a_call())
    assert notes == ["handler of 2"]
    with pytest.raises(PermissionError):
        await CommandBus(handling(notes), [refuses]).dispatch(a_call())
    assert notes == ["handler of 2"]


async def test_what_the_handler_raises_goes_through_all_middleware() -> None:
    notes: list[str] = []

    def fails() -> None:
        raise LookupError("a mistake")

    bus = CommandBus(handling(notes, fails), [noting("first", notes)])
    with pytest.raises(LookupError):
        await bus.dispatch(a_call())
    assert notes[-1] == "first after"
