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
from shop.orders.v1.views_pb2 import Order, OrderItemView, Payment, Shipment
from shop_contexts.orders.money import times, total
from shop_contexts.orders.tables import OrderRow
from twofold_server.modelling import Event, Projection, Rows

F = TypeVar("F", bound=Message)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def created(order: Order, fact: facts.OrderCreated, at: Timestamp) -> None:
    """The order begins."""
    order.order_id = fact.order_id
    order.customer_id = fact.customer_id
    order.status = OrderStatus.ORDER_STATUS_PENDING
    order.items.extend(_item(i.product_id, i.quantity, i.unit_price) for i in fact.items)
    order.shipping_address.CopyFrom(fact.shipping_address)
    order.create_time.CopyFrom(at)


def item_added(order: Order, fact: facts.OrderItemAdded, at: Timestamp) -> None:
    """Quantities of the same product add up; the newest price holds for all of it."""
    place = _find(order, fact.product_id)
    if place is None:
        order.items.append(_item(fact.product_id, fact.quantity, fact.unit_price))
    else:
        quantity = order.items[place].quantity + fact.quantity
        order.items[place].CopyFrom(_item(fact.product_id, quantity, fact.unit_price))


def item_removed(order: Order, fact: facts.OrderItemRemoved, at: Timestamp) -> None:
    """The product is gone."""
    del order.items[_place(order, fact.product_id)]


def quantity_changed(order: Order, fact: facts.OrderItemQuantityChanged, at: Timestamp) -> None:
    """The product stays, at its price."""
    item = order.items[_place(order, fact.product_id)]
    item.CopyFrom(_item(item.product_id, fact.quantity, item.unit_price))


def paid(order: Order, fact: facts.OrderPaid, at: Timestamp) -> None:
    """PENDING to PAID."""
    order.status = OrderStatus.ORDER_STATUS_PAID
    order.payment.CopyFrom(Payment(reference=fact.payment_reference, amount=fact.amount))
    order.pay_time.CopyFrom(at)


def shipped(order: Order, fact: facts.OrderShipped, at: Timestamp) -> None:
    """PAID to SHIPPED."""
    order.status = OrderStatus.ORDER_STATUS_SHIPPED
    order.shipment.CopyFrom(Shipment(carrier=fact.carrier, tracking_number=fact.tracking_number))
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


def _item(product_id: str, quantity: int, unit_price: Money) -> OrderItemView:
    amount = times(unit_price, quantity)
    return OrderItemView(product_id=product_id, quantity=quantity, unit_price=unit_price, amount=amount)


def _find(order: Order, product_id: str) -> int | None:
    return next((n for n, item in enumerate(order.items) if item.product_id == product_id), None)


def _place(order: Order, product_id: str) -> int:
    place = _find(order, product_id)
    if place is None:
        raise LookupError(f"order {order.order_id} has no product {product_id}")
    return place


def _begins(change: Callable[[Order, F, Timestamp], None]) -> Callable[[Event[F], Rows], None]:
    def handle(event: Event[F], rows: Rows) -> None:
        order, at = Order(), _microseconds(event)
        change(order, event.data, _timestamp(at))
        order.total.CopyFrom(total(order.items))
        rows.add(
            OrderRow(
                order_id=order.order_id,
                customer_id=order.customer_id,
                created_at=at,
                **_columns(order, event),
            )
        )

    return handle


def _changes(
    change: Callable[[Order, F, Timestamp], None], *, items: bool = False
) -> Callable[[Event[F], Rows], None]:
    """``items``: whether the change can change the total."""

    def handle(event: Event[F], rows: Rows) -> None:
        row = rows.get(OrderRow, event.aggregate_id)
        if row is None:
            raise LookupError(f"no row for order {event.aggregate_id}")
        order = Order.FromString(row.view)
        change(order, event.data, _timestamp(_microseconds(event)))
        if items:
            order.total.CopyFrom(total(order.items))
        for name, value in _columns(order, event).items():
            setattr(row, name, value)

    return handle


def _columns(order: Order, event: Event[Any]) -> dict[str, Any]:
    """Complete the view and copy out of it what lists and searches need."""
    at = _microseconds(event)
    order.version = event.stream_version
    order.update_time.CopyFrom(_timestamp(at))
    return {
        "status": order.status,
        "updated_at": at,
        "version": event.stream_version,
        "position": event.position,
        "item_count": len(order.items),
        "currency_code": order.total.currency_code,
        "total_units": order.total.units,
        "total_nanos": order.total.nanos,
        "view": order.SerializeToString(),
    }


def _microseconds(event: Event[Any]) -> int:
    return (event.recorded_at - _EPOCH) // _MICROSECOND


def _timestamp(microseconds: int) -> Timestamp:
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


orders_projection = Projection(
    name="orders",
    tables=[OrderRow],
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
    prefetch={OrderRow: lambda event: event.data.order_id},
)
