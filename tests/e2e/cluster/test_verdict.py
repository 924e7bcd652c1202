"""The eyes of the drill on PostgreSQL: each fault that it looks for is found where there is one."""

from __future__ import annotations

from typing import Any

import pytest

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1.values_pb2 import OrderStatus
from shop.orders.v1.views_pb2 import OrderSummary
from tests.e2e.cluster.spread import Told
from tests.e2e.cluster.verdict import audit_orders
from tests.e2e.shop import an_order, item, money
from tests.order_model import OrderModel
from twofold.v1.command_pb2 import CommandOptions, Receipt

SHARED = an_order(item("tea", 1, money(3)), order_id="shared")
CREATE = an_order(item("tea", 2, money(3)), order_id="own")
PAY = commands.PayOrderRequest(order_id="own", request_id="pay", options=CommandOptions(expected_version=1))


def add(request_id: str, quantity: int = 1) -> commands.AddOrderItemRequest:
    """A product for the shared order."""
    return commands.AddOrderItemRequest(
        order_id="shared", product_id="tea", quantity=quantity, unit_price=money(3), request_id=request_id
    )


def receipt(order_id: str, version: int) -> Receipt:
    return Receipt(aggregate_id=order_id, version=version)


@pytest.fixture
def told() -> Told:
    """What one caller was told, as it should be."""
    found = Told(["shared"])
    found.accept(CREATE, receipt("own", 1))
    found.accept(PAY, receipt("own", 2))
    found.accept(PAY, receipt("own", 2))  # again
    found.refuse(commands.PayOrderRequest(order_id="own", request_id="again"), "ORDER_NOT_PENDING")
    found.accept(add("b", 2), receipt("shared", 3))
    found.accept(add("a", 1), receipt("shared", 2))
    return found


@pytest.fixture
def rows() -> dict[str, OrderSummary]:
    """What the read model shows, as it should be."""
    own = OrderSummary(
        order_id="own", version=2, status=OrderStatus.ORDER_STATUS_PAID, item_count=1, total=money(6)
    )
    pending = OrderStatus.ORDER_STATUS_PENDING
    shared = OrderSummary(order_id="shared", version=3, status=pending, item_count=1, total=money(12))
    return {"own": own, "shared": shared}


def faults(told: Told, rows: dict[str, OrderSummary]) -> list[int]:
    return list(audit_orders([told], {"shared": SHARED}, [], rows).values())


def test_a_cluster_that_answered_as_it_should_has_no_fault(told: Told, rows: dict[str, OrderSummary]) -> None:
    assert faults(told, rows) == [0, 0, 0]
    assert told.disputes == []


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 3},
        {"status": OrderStatus.ORDER_STATUS_CANCELLED},
        {"item_count": 2},
        {"total": money(7)},
    ],
)
def test_an_order_that_is_not_as_callers_were_told_is_found(
    told: Told, rows: dict[str, OrderSummary], damage: dict[str, Any]
) -> None:
    for name, value in damage.items():
        rows["own"].ClearField(name)  # type: ignore[arg-type]
        rows["own"].MergeFrom(OrderSummary(**{name: value}))
    assert faults(told, rows) == [0, 1, 0]


def test_an_order_that_is_not_shown_and_one_that_nobody_made_are_found(
    told: Told, rows: dict[str, OrderSummary]
) -> None:
    del rows["own"]
    rows["strange"] = OrderSummary(order_id="strange")
    assert faults(told, rows) == [0, 1, 1]


@pytest.mark.parametrize("version", [2, 4])
def test_versions_of_a_shared_order_that_are_given_twice_or_left_out_are_found(
    told: Told, rows: dict[str, OrderSummary], version: int
) -> None:
    told.accept(add("c"), receipt("shared", version + 1))
    told.accept(add("d"), receipt("shared", version + 1))
    assert faults(told, rows)[0] > 0


def test_an_answer_that_cannot_be_right_is_found(told: Told) -> None:
    told.accept(commands.ShipOrderRequest(order_id="own", request_id="ship"), receipt("own", 4))
    told.accept(commands.PayOrderRequest(order_id="own", request_id="pay twice"), receipt("own", 4))
    told.refuse(commands.PayOrderRequest(order_id="nowhere", request_id="x"), "ORDER_NOT_PENDING")
    assert len(told.disputes) == 3


def test_the_model_of_an_order_refuses_and_accepts() -> None:
    model = OrderModel()
    assert model.verdict(add("a")) == "ORDER_NOT_FOUND"
    model.apply(SHARED)
    assert model.verdict(SHARED) == "ORDER_ALREADY_EXISTS"
    assert model.verdict(add("a", 1_000_000)) == "QUANTITY_TOO_LARGE"
    assert model.apply(add("a", 4)) == 1
    change = commands.ChangeItemQuantityRequest(product_id="tea", quantity=5)
    assert (model.verdict(change), model.apply(change), model.version) == ("", 0, 2)
    assert model.verdict(commands.RemoveOrderItemRequest(product_id="tea")) == "LAST_ITEM"
