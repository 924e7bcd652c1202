"""What stays true of an order, whatever is asked of it."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from shop.orders.v1.command_service_pb2 import CreateOrderRequest
from shop.orders.v1.values_pb2 import OrderItem, OrderStatus
from shop_contexts.orders.decider import MAX_QUANTITY, order
from shop_contexts.orders.money import NANOS, to_nanos
from shop_contexts.orders.state import Order
from tests.unit.deciders import Scenario
from tests.unit.order_messages import add, cancel, change, complete, create, item, money, pay, remove, ship

products = st.sampled_from(["tea", "milk", "jam"])
quantities = st.one_of(st.integers(1, 5), st.integers(MAX_QUANTITY - 5, MAX_QUANTITY))
prices = st.builds(
    money,
    st.integers(0, 1_000_000_000),
    st.integers(0, 999_999_999),
    st.sampled_from(["EUR", "EUR", "EUR", "USD"]),
)
items = st.builds(item, products, quantities, prices)
creations = st.lists(items, min_size=1, max_size=4).map(lambda some: create(*some))
changes: st.SearchStrategy[Message] = st.one_of(
    st.builds(add, products, quantities, prices),
    st.builds(remove, products),
    st.builds(change, products, quantities),
    st.sampled_from([pay(), ship(), complete(), cancel()]),
)
changes_of_orders = st.lists(changes, max_size=15)

PENDING, PAID = OrderStatus.ORDER_STATUS_PENDING, OrderStatus.ORDER_STATUS_PAID
SHIPPED, COMPLETED = OrderStatus.ORDER_STATUS_SHIPPED, OrderStatus.ORDER_STATUS_COMPLETED
CANCELLED = OrderStatus.ORDER_STATUS_CANCELLED
STEPS = {(PENDING, PAID), (PAID, SHIPPED), (SHIPPED, COMPLETED), (PENDING, CANCELLED), (PAID, CANCELLED)}


class Basket:
    """The naive model: what an order should hold, kept in the simplest way."""

    def __init__(self) -> None:
        self.lines: dict[str, tuple[int, int]] = {}
        self.currency = ""

    def begin(self, command: CreateOrderRequest) -> None:
        """Put in everything that was ordered."""
        self.currency = command.items[0].unit_price.currency_code
        for line in command.items:
            self.put(line)

    def put(self, line: OrderItem) -> None:
        """Put in more of a product."""
        before, _ = self.lines.get(line.product_id, (0, 0))
        self.lines[line.product_id] = (before + line.quantity, to_nanos(line.unit_price))

    def do(self, command: Message) -> None:
        """Do what an accepted command says."""
        name, asked = command.DESCRIPTOR.name, command
        if name == "AddOrderItemRequest":
            self.put(asked)  # type: ignore[arg-type]
        elif name == "RemoveOrderItemRequest":
            del self.lines[asked.product_id]  # type: ignore[attr-defined]
        elif name == "ChangeItemQuantityRequest":
            _, price = self.lines[asked.product_id]  # type: ignore[attr-defined]
            self.lines[asked.product_id] = (asked.quantity, price)  # type: ignore[attr-defined]


def check(state: Order, basket: Basket) -> None:
    assert state.items, "never empty"
    assert all(1 <= line.quantity <= MAX_QUANTITY for line in state.items.values())
    assert {name: (i.quantity, i.unit_price) for name, i in state.items.items()} == basket.lines
    assert state.total == sum(quantity * price for quantity, price in basket.lines.values())
    assert state.currency == basket.currency


def histories(
    creation: CreateOrderRequest, asked: list[Message]
) -> Iterator[tuple[Message, Scenario, Scenario]]:
    """Each accepted command, with the order before and after it."""
    before = Scenario(order)
    for command in (creation, *asked):
        decision = before.when(command)
        if decision.refusal is None:
            after = before.given(*decision.facts)
            yield command, before, after
            before = after
        elif command is creation:
            return


@given(creations, st.lists(changes, max_size=25))
def test_whatever_is_asked_an_order_keeps_its_invariants(
    creation: CreateOrderRequest, asked: list[Message]
) -> None:
    basket = Basket()
    for command, before, after in histories(creation, asked):
        if command is creation:
            basket.begin(creation)
        else:
            basket.do(command)
            assert (
                before.state.status == after.state.status
                or (before.state.status, after.state.status) in STEPS
            )
        check(after.state, basket)


@given(creations, st.lists(changes, max_size=25))
def test_items_change_only_while_the_order_is_pending(
    creation: CreateOrderRequest, asked: list[Message]
) -> None:
    for command, before, after in histories(creation, asked):
        if command is not creation and before.state.status != PENDING:
            assert (after.state.items, after.state.total) == (before.state.items, before.state.total)


@given(creations, st.lists(changes, max_size=25))
def test_what_is_paid_is_the_exact_total(creation: CreateOrderRequest, asked: list[Message]) -> None:
    for _, before, _ in histories(creation, [*asked, pay()]):
        for fact in before.when(pay()).facts:
            amount = fact.amount  # type: ignore[attr-defined]
            assert amount.units * NANOS + amount.nanos == before.state.total
            assert 0 <= amount.nanos < NANOS
            assert amount.currency_code == before.state.currency


@given(creations, st.lists(changes, max_size=15))
def test_evolving_leaves_the_state_that_it_was_given_alone(
    creation: CreateOrderRequest, asked: list[Message]
) -> None:
    for command, before, _ in histories(creation, asked):
        state = before.state
        for fact in before.when(command).facts:
            order.evolve[type(fact)](state, fact)
        assert state == before.state
