"""An order as its decisions see it: facts folded into state.

Names on disk: the event types of shop.orders.v1 and the category ``order``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message import Message

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.values_pb2 import OrderStatus
from shop_contexts.orders.money import to_nanos


@dataclass(frozen=True, slots=True)
class Item:
    """One product in an order."""

    quantity: int
    unit_price: int
    """In billionths of the order's currency."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an order remembers of its past."""

    status: OrderStatus.ValueType = OrderStatus.ORDER_STATUS_UNSPECIFIED
    currency: str = ""
    items: Mapping[str, Item] = field(default_factory=dict)
    """By product id."""

    @property
    def total(self) -> int:
        """The sum of all amounts, in billionths of the currency."""
        return sum(item.quantity * item.unit_price for item in self.items.values())

    def with_item(self, product_id: str, item: Item) -> Order:
        """The order with a product set to this."""
        return replace(self, items={**self.items, product_id: item})


def created(order: Order, event: facts.OrderCreated) -> Order:
    """The order begins."""
    items = {i.product_id: Item(i.quantity, to_nanos(i.unit_price)) for i in event.items}
    return Order(OrderStatus.ORDER_STATUS_PENDING, event.items[0].unit_price.currency_code, items)


def item_added(order: Order, event: facts.OrderItemAdded) -> Order:
    """Quantities of the same product add up; the newest price holds for all of it."""
    before = order.items.get(event.product_id)
    quantity = event.quantity + (before.quantity if before else 0)
    return order.with_item(event.product_id, Item(quantity, to_nanos(event.unit_price)))


def item_removed(order: Order, event: facts.OrderItemRemoved) -> Order:
    """The product is gone."""
    return replace(order, items={key: item for key, item in order.items.items() if key != event.product_id})


def quantity_changed(order: Order, event: facts.OrderItemQuantityChanged) -> Order:
    """The product stays, at its price."""
    return order.with_item(event.product_id, replace(order.items[event.product_id], quantity=event.quantity))


def paid(order: Order, event: facts.OrderPaid) -> Order:
    """PENDING to PAID."""
    return replace(order, status=OrderStatus.ORDER_STATUS_PAID)


def shipped(order: Order, event: facts.OrderShipped) -> Order:
    """PAID to SHIPPED."""
    return replace(order, status=OrderStatus.ORDER_STATUS_SHIPPED)


def completed(order: Order, event: facts.OrderCompleted) -> Order:
    """SHIPPED to COMPLETED."""
    return replace(order, status=OrderStatus.ORDER_STATUS_COMPLETED)


def cancelled(order: Order, event: facts.OrderCancelled) -> Order:
    """PENDING or PAID to CANCELLED."""
    return replace(order, status=OrderStatus.ORDER_STATUS_CANCELLED)


evolve: Mapping[type[Message], Callable[[Order, Any], Order]] = {
    facts.OrderCreated: created,
    facts.OrderItemAdded: item_added,
    facts.OrderItemRemoved: item_removed,
    facts.OrderItemQuantityChanged: quantity_changed,
    facts.OrderPaid: paid,
    facts.OrderShipped: shipped,
    facts.OrderCompleted: completed,
    facts.OrderCancelled: cancelled,
}
