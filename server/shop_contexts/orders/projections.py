"""The fold from facts about orders to rows of the read model.

Names on disk: the projection ``orders``.
"""

from __future__ import annotations

from typing import Any

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.tables import CustomerRow, OrderRow
from shop_contexts.orders.views import apply, changes
from twofold_server.modelling import Event, Projection, Rows, stream_by


def _begins(event: Event[facts.OrderCreated], rows: Rows) -> None:
    order = Order()
    apply(order, event)
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


def _count(customer_id: str, rows: Rows) -> None:
    customer = rows.get(CustomerRow, customer_id)
    if customer is None:
        rows.add(CustomerRow(customer_id=customer_id, orders=1))
    else:
        customer.orders += 1


def _changes(event: Event[Any], rows: Rows) -> None:
    row = rows.get(OrderRow, event.aggregate_id)
    if row is None:
        raise LookupError(f"no row for order {event.aggregate_id}")
    order = Order.FromString(row.view)
    apply(order, event)
    row.status = order.status
    row.position = event.position
    row.view = order.SerializeToString()
    rows.touch(CustomerRow, row.customer_id)  # the list of a customer's orders shows this one


def _customer_of(event: Event[Any]) -> str | None:
    return event.data.customer_id if isinstance(event.data, facts.OrderCreated) else None


orders_projection = Projection(
    name="orders",
    tables=[OrderRow, CustomerRow],
    handlers=dict.fromkeys(changes, _changes) | {facts.OrderCreated: _begins},
    prefetch={OrderRow: lambda event: event.data.order_id, CustomerRow: _customer_of},
    stream_of={OrderRow: stream_by("order", "order_id")},
)
