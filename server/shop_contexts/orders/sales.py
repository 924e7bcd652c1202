"""The fold from facts about orders to sums by month and day.

What counts when, in UTC: an order in the day in which it was created; its sales in the month and the day in
which it was paid. A cancellation takes out what it cancels where that was counted, and never counts in the
day in which it happens: so a sum is that of the orders that stand.

Names on disk: the projection ``order_sales``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.money import to_nanos
from shop_contexts.orders.sales_tables import (
    DailyAmountRow,
    DailyOrdersRow,
    DailyProductRow,
    MonthlySalesRow,
    SalesMonthRow,
    UnshippedOrderRow,
)
from shop_contexts.orders.views import apply
from twofold_server.modelling import Event, Rows


def _created(event: Event[facts.OrderCreated], rows: Rows) -> None:
    order = Order()
    apply(order, event)
    order.ClearField("shipping_address")
    rows.add(
        UnshippedOrderRow(order_id=order.order_id, position=event.position, view=order.SerializeToString())
    )
    _orders_of_day(order.create_time, rows).orders += 1


def _items_changed(event: Event[Any], rows: Rows) -> None:
    _changed(event, rows)


def _paid(event: Event[facts.OrderPaid], rows: Rows) -> None:
    order = _changed(event, rows)
    _orders_of_day(order.pay_time, rows).paid += 1
    _add_sales(order, rows)


def _shipped(event: Event[facts.OrderShipped], rows: Rows) -> None:
    rows.delete(_unshipped(event, rows))


def _cancelled(event: Event[facts.OrderCancelled], rows: Rows) -> None:
    row = _unshipped(event, rows)
    order = Order.FromString(row.view)
    rows.delete(row)
    if created := rows.get(DailyOrdersRow, day_of(order.create_time)):
        created.orders -= 1
        created.cancelled += 1
    if order.HasField("pay_time"):
        _take_sales_back(order, rows)


def _changed(event: Event[Any], rows: Rows) -> Order:
    row = _unshipped(event, rows)
    order = Order.FromString(row.view)
    apply(order, event)
    row.position = event.position
    row.view = order.SerializeToString()
    return order


def _unshipped(event: Event[Any], rows: Rows) -> UnshippedOrderRow:
    row = rows.get(UnshippedOrderRow, event.aggregate_id)
    if row is None:
        raise LookupError(f"no row for order {event.aggregate_id}")
    return row


def _orders_of_day(at: Timestamp, rows: Rows) -> DailyOrdersRow:
    row = rows.get(DailyOrdersRow, day_of(at))
    if row is None:
        row = DailyOrdersRow(day=day_of(at), orders=0, cancelled=0, paid=0)
        rows.add(row)
    return row


def _add_sales(order: Order, rows: Rows) -> None:
    month, day, currency = month_of(order.pay_time), day_of(order.pay_time), order.total.currency_code
    for item in order.items:
        _add_to_month(month, item.product_id, currency, item.quantity, to_nanos(item.amount), rows)
        _add_to_product(day, item.product_id, item.quantity, rows)
    amount = rows.get(DailyAmountRow, (day, currency))
    if amount is None:
        amount = DailyAmountRow(day=day, currency=currency, orders=0, amount=0)
        rows.add(amount)
    amount.orders += 1
    amount.amount += to_nanos(order.total)


def _add_to_month(month: int, product_id: str, currency: str, quantity: int, amount: int, rows: Rows) -> None:
    row = rows.get(MonthlySalesRow, (month, product_id, currency))
    if row is None:
        row = MonthlySalesRow(month=month, product_id=product_id, currency=currency, quantity=0, amount=0)
        rows.add(row)
        _count_row(month, rows)
    row.quantity += quantity
    row.amount += amount


def _count_row(month: int, rows: Rows) -> None:
    row = rows.get(SalesMonthRow, month)
    if row is None:
        rows.add(SalesMonthRow(month=month, rows=1))
    else:
        row.rows += 1


def _add_to_product(day: int, product_id: str, quantity: int, rows: Rows) -> None:
    row = rows.get(DailyProductRow, (day, product_id))
    if row is None:
        rows.add(DailyProductRow(day=day, product_id=product_id, quantity=quantity))
    else:
        row.quantity += quantity


def _take_sales_back(order: Order, rows: Rows) -> None:
    """A row that is missing was older than what is kept: then there is nothing to take it from."""
    month, day, currency = month_of(order.pay_time), day_of(order.pay_time), order.total.currency_code
    for item in order.items:
        _take_from_month(month, item.product_id, currency, item.quantity, to_nanos(item.amount), rows)
        _take_from_product(day, item.product_id, item.quantity, rows)
    if paid := rows.get(DailyOrdersRow, day):
        paid.paid -= 1
    if amount := rows.get(DailyAmountRow, (day, currency)):
        amount.orders -= 1
        amount.amount -= to_nanos(order.total)
        if not amount.orders:
            rows.delete(amount)


def _take_from_month(
    month: int, product_id: str, currency: str, quantity: int, amount: int, rows: Rows
) -> None:
    row = rows.get(MonthlySalesRow, (month, product_id, currency))
    if row is None:
        return
    row.quantity -= quantity
    row.amount -= amount
    if row.quantity:
        return
    rows.delete(row)
    if counted := rows.get(SalesMonthRow, month):
        counted.rows -= 1
        if not counted.rows:
            rows.delete(counted)


def _take_from_product(day: int, product_id: str, quantity: int, rows: Rows) -> None:
    if row := rows.get(DailyProductRow, (day, product_id)):
        row.quantity -= quantity
        if not row.quantity:
            rows.delete(row)


def month_of(at: Timestamp) -> int:
    """The month of a time in UTC, as 202611."""
    return day_of(at) // 100


def day_of(at: Timestamp) -> int:
    """The day of a time in UTC, as 20261120."""
    when = at.ToDatetime()
    return when.year * 10_000 + when.month * 100 + when.day


handlers: Mapping[type[Message], Callable[[Event[Any], Rows], None]] = {
    facts.OrderCreated: _created,
    facts.OrderItemAdded: _items_changed,
    facts.OrderItemRemoved: _items_changed,
    facts.OrderItemQuantityChanged: _items_changed,
    facts.OrderPaid: _paid,
    facts.OrderShipped: _shipped,
    facts.OrderCancelled: _cancelled,
}
"""What each fact does; one that is completed was shipped before, and moves no sum."""
