"""The fold from facts about orders to rows of the read model.

Names on disk: the projection ``orders``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.values_pb2 import OrderStatus
from shop.orders.v1.views_pb2 import Order, OrderItemView
from shop_contexts.orders.money import times, total
from shop_contexts.orders.tables import CustomerRow, OrderRow
from twofold_server.modelling import Event, Projection, Rows, stream_by

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
    item.amount.CopyFrom(times(unit_price, quantity))


def _find(order: Order, product_id: str) -> int | None:
    return next((n for n, item in enumerate(order.items) if item.product_id == product_id), None)


def _place(order: Order, product_id: str) -> int:
    place = _find(order, product_id)
    if place is None:
        raise LookupError(f"order {order.order_id} has no product {product_id}")
    return place


def _begins(change: Change[F]) -> Callable[[Event[F], Rows], None]:
    """The handler of a fact that begins an order."""

    def handle(event: Event[F], rows: Rows) -> None:
        order = Order()
        _apply(change, order, event, items=True)
        _count(order.customer_id, rows)
        rows.add(
            OrderRow(
                order_id=order.order_id,
                customer_id=order.customer_id,
                status=order.status,
                created_at=order.create_time.ToMicroseconds(),
                position=event.position,
                view=order.SerializeToString(),
            )
        )

    return handle


def _count(customer_id: str, rows: Rows) -> None:
    customer = rows.get(CustomerRow, customer_id)
    if customer is None:
        rows.add(CustomerRow(customer_id=customer_id, orders=1))
    else:
        customer.orders += 1


def _changes(change: Change[F], *, items: bool = False) -> Callable[[Event[F], Rows], None]:
    """The handler of a fact that changes an order; ``items``: also what is ordered, and so the total."""

    def handle(event: Event[F], rows: Rows) -> None:
        row = rows.get(OrderRow, event.aggregate_id)
        if row is None:
            raise LookupError(f"no row for order {event.aggregate_id}")
        order = Order.FromString(row.view)
        _apply(change, order, event, items)
        row.status = order.status
        row.position = event.position
        row.view = order.SerializeToString()
        rows.touch(CustomerRow, row.customer_id)  # the list of a customer's orders shows this one

    return handle


def _apply(change: Change[F], order: Order, event: Event[F], items: bool) -> None:
    at = _timestamp(event.recorded_at)
    change(order, event.data, at)
    if items:
        order.total.CopyFrom(total(order.items))
    order.version = event.stream_version
    order.update_time.CopyFrom(at)


def _timestamp(at: datetime) -> Timestamp:
    seconds, rest = divmod((at - _EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def _customer_of(event: Event[Any]) -> str | None:
    return event.data.customer_id if isinstance(event.data, facts.OrderCreated) else None


orders_projection = Projection(
    name="orders",
    tables=[OrderRow, CustomerRow],
    handlers={
        facts.OrderCreated: _begins(created),
        facts.OrderItemAdded: _changes(item_added, items=True),
        facts.OrderItemRemoved: _changes(item_removed, items=True),
        facts.OrderItemQuantityChanged: _changes(quantity_changed, items=True),
        facts.OrderPaid: _changes(paid),
        facts.OrderShipped: _changes(shipped),
        facts.OrderCompleted: _changes(completed),
        facts.OrderCancelled: _changes(cancelled),
    },
    prefetch={OrderRow: lambda event: event.data.order_id, CustomerRow: _customer_of},
    stream_of={OrderRow: stream_by("order", "order_id")},
)
