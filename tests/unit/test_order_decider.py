"""What may be asked of an order, and what then happens."""

from __future__ import annotations

import itertools

import pytest
from google.protobuf.message import Message

from shop_contexts.orders.decider import MAX_ITEMS, MAX_QUANTITY, order
from tests.unit.deciders import Scenario
from tests.unit.order_messages import (
    add,
    added,
    cancel,
    cancelled,
    change,
    changed,
    complete,
    completed,
    create,
    created,
    item,
    money,
    paid,
    pay,
    remove,
    removed,
    ship,
    shipped,
)
from twofold_server.errors import InvalidRequest, Rejected
from twofold_server.messages.contract import read_contract

NOTHING = Scenario(order)
PENDING = NOTHING.given(created(item("tea", 2), item("milk", 1)))
PAID = PENDING.given(paid())
SHIPPED = PAID.given(shipped())
COMPLETED = SHIPPED.given(completed())
CANCELLED = PENDING.given(cancelled())

STATUSES = {
    "PENDING": PENDING,
    "PAID": PAID,
    "SHIPPED": SHIPPED,
    "COMPLETED": COMPLETED,
    "CANCELLED": CANCELLED,
}

# --- creating ------------------------------------------------------------------------------------


def test_an_order_is_created_with_all_that_was_asked_for() -> None:
    items = item("tea", 2, money(3, 500_000_000)), item("milk", 1, money(1))
    NOTHING.when(create(*items)).then(created(*items))


def test_a_product_that_comes_twice_adds_up_at_its_last_price_in_its_first_place() -> None:
    asked = item("tea", 2, money(3)), item("milk", 1), item("tea", 5, money(4))
    NOTHING.when(create(*asked)).then(created(item("tea", 7, money(4)), item("milk", 1)))


def test_a_product_that_comes_twice_may_not_add_up_to_too_many() -> None:
    NOTHING.when(create(item("tea", MAX_QUANTITY), item("tea", 1))).then_refused(
        Rejected, "QUANTITY_TOO_LARGE", product_id="tea", quantity="1000001"
    )


def test_prices_in_several_currencies_are_refused_and_each_is_named() -> None:
    decision = NOTHING.when(
        create(
            item("a"), item("b", price=money(1, currency="USD")), item("c", price=money(1, currency="GBP"))
        )
    )
    decision.then_refused(InvalidRequest, "MIXED_CURRENCIES")
    assert isinstance(decision.refusal, InvalidRequest)
    assert [field for field, _ in decision.refusal.violations] == [
        "items[1].unit_price.currency_code",
        "items[2].unit_price.currency_code",
    ]


# --- items ---------------------------------------------------------------------------------------


def test_a_product_is_added() -> None:
    PENDING.when(add("jam", 3, money(5))).then(added("jam", 3, money(5)))


def test_the_same_product_is_added_again_at_its_new_price() -> None:
    PENDING.when(add("tea", 3, money(5))).then(added("tea", 3, money(5)))
    again = PENDING.given(added("tea", 3, money(5)))
    assert (again.state.items["tea"].quantity, again.state.items["tea"].unit_price) == (5, 5_000_000_000)


def test_quantities_add_up_to_the_most_and_no_further() -> None:
    PENDING.when(add("tea", MAX_QUANTITY - 2)).then(added("tea", MAX_QUANTITY - 2))
    PENDING.when(add("tea", MAX_QUANTITY - 1)).then_refused(
        Rejected, "QUANTITY_TOO_LARGE", product_id="tea", quantity="1000001"
    )


def test_a_price_in_another_currency_is_refused() -> None:
    PENDING.when(add("jam", price=money(5, currency="USD"))).then_refused(
        Rejected, "CURRENCY_MISMATCH", order="EUR", price="USD"
    )


def test_a_full_order_takes_more_of_a_product_but_no_further_one() -> None:
    full = NOTHING.given(created(*(item(f"p{n}") for n in range(MAX_ITEMS))))
    full.when(add("p7")).then(added("p7"))
    full.when(add("another")).then_refused(Rejected, "TOO_MANY_ITEMS")


def test_a_product_is_taken_out() -> None:
    PENDING.when(remove("tea")).then(removed("tea"))


def test_the_last_item_stays() -> None:
    PENDING.given(removed("tea")).when(remove("milk")).then_refused(Rejected, "LAST_ITEM")


@pytest.mark.parametrize("command", [remove("jam"), change("jam", 2)], ids=lambda c: c.DESCRIPTOR.name)
def test_a_product_that_is_not_in_the_order_is_refused(command: Message) -> None:
    PENDING.when(command).then_refused(Rejected, "ITEM_NOT_IN_ORDER", product_id="jam")


def test_a_product_that_was_taken_out_is_no_longer_in_the_order() -> None:
    PENDING.given(removed("tea")).when(change("tea", 2)).then_refused(
        Rejected, "ITEM_NOT_IN_ORDER", product_id="tea"
    )


def test_a_quantity_is_changed() -> None:
    PENDING.when(change("tea", 9)).then(changed("tea", 9))


def test_the_quantity_that_it_already_has_changes_nothing() -> None:
    PENDING.when(change("tea", 2)).then_nothing()


# --- the way of an order -------------------------------------------------------------------------


def test_the_whole_total_is_paid_to_the_last_billionth() -> None:
    PENDING.given(added("jam", 3, money(0, 333_333_333)), changed("tea", 1)).when(pay()).then(
        paid(money(6, 999_999_999))
    )


def test_a_total_beyond_what_a_float_holds_is_exact() -> None:
    huge = NOTHING.given(created(item("gold", MAX_QUANTITY, money(999_999_999, 999_999_999))))
    huge.when(pay()).then(paid(money(999_999_999_999_999, 999_000_000)))


def test_an_order_goes_from_paid_to_shipped_to_completed() -> None:
    PAID.when(ship()).then(shipped())
    SHIPPED.when(complete()).then(completed())


@pytest.mark.parametrize("status", ["PENDING", "PAID"])
def test_an_order_is_cancelled_until_it_is_shipped(status: str) -> None:
    STATUSES[status].when(cancel("too late")).then(cancelled("too late"))


COMMANDS = {
    "AddOrderItem": (add("jam"), "ORDER_NOT_PENDING", {"PENDING"}),
    "RemoveOrderItem": (remove("tea"), "ORDER_NOT_PENDING", {"PENDING"}),
    "ChangeItemQuantity": (change("tea", 5), "ORDER_NOT_PENDING", {"PENDING"}),
    "PayOrder": (pay(), "ORDER_NOT_PENDING", {"PENDING"}),
    "ShipOrder": (ship(), "ORDER_NOT_PAID", {"PAID"}),
    "CompleteOrder": (complete(), "ORDER_NOT_SHIPPED", {"SHIPPED"}),
    "CancelOrder": (cancel(), "ORDER_NOT_CANCELLABLE", {"PENDING", "PAID"}),
}


@pytest.mark.parametrize(("method", "status"), list(itertools.product(COMMANDS, STATUSES)))
def test_each_status_allows_its_commands_and_refuses_the_others(method: str, status: str) -> None:
    command, reason, allowed = COMMANDS[method]
    decision = STATUSES[status].when(command)
    if status in allowed:
        assert decision.refusal is None
        assert decision.facts
    else:
        decision.then_refused(Rejected, reason, status=status)


# --- the contract --------------------------------------------------------------------------------


def test_every_declared_rejection_can_happen_and_no_other() -> None:
    declared = {
        (contract.method, reason)
        for contract in read_contract("shop.orders.v1").commands.values()
        for reason in contract.rejections
    }
    full = NOTHING.given(created(*(item(f"p{n}") for n in range(MAX_ITEMS))))
    attempts = [
        *((scenario, command) for scenario in STATUSES.values() for command, _, _ in COMMANDS.values()),
        (NOTHING, create(item("tea", MAX_QUANTITY), item("tea", 1))),
        (PENDING, add("tea", MAX_QUANTITY)),
        (PENDING, add("jam", price=money(5, currency="USD"))),
        (full, add("another")),
        (PENDING.given(removed("tea")), remove("milk")),
        (PENDING, remove("jam")),
        (PENDING, change("jam", 2)),
    ]
    met = {
        (command.DESCRIPTOR.name.removesuffix("Request"), decision.refusal.reason)
        for scenario, command in attempts
        if isinstance((decision := scenario.when(command)).refusal, Rejected)
    }
    assert met == declared
