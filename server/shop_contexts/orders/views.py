"""An order as the read side shows it: facts folded into the message ``shop.orders.v1.Order``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.values_pb2 import OrderStatus
from shop.orders.v1.views_pb2 import Order, OrderItemView
from shop_contexts.orders.money import put_nanos, to_nanos, total
from twofold_server.modelling import Event

F = TypeVar("F", bound=Message)
Change = Callable[[Order, F, Timestamp], None]
"""What a fact does to the view of an order; the time is the fact's."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def created(order: Order, fact: facts.OrderCreated, at: Timestamp) -> None:
    """The order begins."""
    order.order_id = fact.order_id
    order.customer_id = fact.customer_id
    order.status = OrderStatus.ORDER_STATUS_PENDING
    for item in fact.items:
        _set_item(order.items.add(), item.product_id, item.quantity, item.unit_price)
    order.shipping_address.CopyFrom(fact.shipping_address)
    order.create_time.CopyFrom(at)


def item_added(order: Order, fact: facts.OrderItemAdded, at: Timestamp) -> None:
    """Quantities of the same product add up; the newest price holds for all of it."""
    before = _find(order, fact.product_id)
    item = order.items.add() if before is None else order.items[before]
    _set_item(item, fact.product_id, item.quantity + fact.quantity, fact.unit_price)


def item_removed(order: Order, fact: facts.OrderItemRemoved, at: Timestamp) -> None:
    """The product is gone."""
    del order.items[_place(order, fact.product_id)]


def quantity_changed(order: Order, fact: facts.OrderItemQuantityChanged, at: Timestamp) -> None:
    """The product stays, at its price."""
    item = order.items[_place(order, fact.product_id)]
    _set_item(item, item.product_id, fact.quantity, item.unit_price)


def paid(order: Order, fact: facts.OrderPaid, at: Timestamp) -> None:
    """PENDING to PAID."""
    order.status = OrderStatus.ORDER_STATUS_PAID
    order.payment.reference = fact.payment_reference
    order.payment.amount.CopyFrom(fact.amount)
    order.pay_time.CopyFrom(at)


def shipped(order: Order, fact: facts.OrderShipped, at: Timestamp) -> None:
    """PAID to SHIPPED."""
    order.status = OrderStatus.ORDER_STATUS_SHIPPED
    order.shipment.carrier = fact.carrier
    order.shipment.tracking_number = fact.tracking_number
    order.ship_time.CopyFrom(at)


def completed(order: Order, fact: facts.OrderCompleted, at: Timestamp) -> None:
    """SHIPPED to COMPLETED."""
    order.status = OrderStatus.ORDER_STATUS_COMPLETED
    order.complete_time.CopyFrom(at)


def cancelled(order: Order, fact: facts.OrderCancelled, at: Timestamp) -> None:
    """PENDING or PAID to CANCELLED."""
    order.status = OrderStatus.ORDER_STATUS_CANCELLED
    order.cancellation_reason = fact.reason
    order.cancel_time.CopyFrom(at)


def _set_item(item: OrderItemView, product_id: str, quantity: int, unit_price: Money) -> None:
    item.product_id = product_id
    item.quantity = quantity
    item.unit_price.CopyFrom(unit_price)
    put_nanos(item.amount, unit_price.currency_code, to_nanos(unit_price) * quantity)


def _find(order: Order, product_id: str) -> int | None:
    return next((n for n, item in enumerate(order.items) if item.product_id == product_id), None)


def _place(order: Order, product_id: str) -> int:
    place = _find(order, product_id)
    if place is None:
        raise LookupError(f"order {order.order_id} has no product {product_id}")
    return place


changes: Mapping[type[Message], Change[Any]] = {
    facts.OrderCreated: created,
    facts.OrderItemAdded: item_added,
    facts.OrderItemRemoved: item_removed,
    facts.OrderItemQuantityChanged: quantity_changed,
    facts.OrderPaid: paid,
    facts.OrderShipped: shipped,
    facts.OrderCompleted: completed,
    facts.OrderCancelled: cancelled,
}
"""What each fact does."""
_MOVES_THE_TOTAL = frozenset(
    {facts.OrderCreated, facts.OrderItemAdded, facts.OrderItemRemoved, facts.OrderItemQuantityChanged}
)


def apply(order: Order, event: Event[Any]) -> None:
    """Change the view of an order by an event."""
    at, kind = timestamp(event.recorded_at), type(event.data)
    changes[kind](order, event.data, at)
    if kind in _MOVES_THE_TOTAL:
        order.total.CopyFrom(total(order.items))
    order.version = event.stream_version
    order.update_time.CopyFrom(at)


def timestamp(at: datetime) -> Timestamp:
    """The same moment as a message."""
    seconds, rest = divmod((at - _EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)
