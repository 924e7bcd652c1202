"""An order as lists show it."""

from __future__ import annotations

from shop.orders.v1.views_pb2 import Order, OrderSummary


def summary(view: bytes) -> OrderSummary:
    """The summary of a serialized ``shop.orders.v1.Order``."""
    order = Order.FromString(view)
    return OrderSummary(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order.status,
        item_count=len(order.items),
        total=order.total,
        create_time=order.create_time,
        update_time=order.update_time,
        version=order.version,
    )
