"""The projection ``order_sales``; the name is on disk."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders import sales
from shop_contexts.orders.sales_tables import (
    DailyAmountRow,
    DailyOrdersRow,
    DailyProductRow,
    MonthlySalesRow,
    SalesMonthRow,
    UnshippedOrderRow,
)
from twofold_server.modelling import Event, Projection, Retention, Rows, stream_by

Places = Iterable[tuple[type[Any], Hashable]]


def _related(event: Event[Any], rows: Rows) -> Places:
    """The sums that a payment or a cancellation moves."""
    if not isinstance(event.data, facts.OrderPaid | facts.OrderCancelled):
        return
    row = rows.get(UnshippedOrderRow, event.aggregate_id)
    if row is None:
        return  # created in this batch: most of its sums are those of other orders as well
    order = Order.FromString(row.view)
    if isinstance(event.data, facts.OrderPaid):
        order.pay_time.FromDatetime(event.recorded_at)
    else:
        yield DailyOrdersRow, sales.day_of(order.create_time)
    if order.HasField("pay_time"):
        yield from _sums(order.pay_time, order.total.currency_code, (i.product_id for i in order.items))


def _sums(at: Timestamp, currency: str, products: Iterable[str]) -> Places:
    month, day = sales.month_of(at), sales.day_of(at)
    yield SalesMonthRow, month
    yield DailyOrdersRow, day
    yield DailyAmountRow, (day, currency)
    for product_id in products:
        yield MonthlySalesRow, (month, product_id, currency)
        yield DailyProductRow, (day, product_id)


def _month(at: datetime) -> int:
    return at.year * 100 + at.month


def _first_day(at: datetime) -> int:
    """Days go by whole months, so that months and days always tell of the same."""
    return _month(at) * 100 + 1


order_sales_projection = Projection(
    name="order_sales",
    sync="batched(500, 0.03)",
    tables=[
        UnshippedOrderRow,
        MonthlySalesRow,
        SalesMonthRow,
        DailyOrdersRow,
        DailyAmountRow,
        DailyProductRow,
    ],
    handlers=sales.handlers,
    prefetch={UnshippedOrderRow: lambda event: event.data.order_id},
    prefetch_related=_related,
    retention=Retention(
        keep=timedelta(days=2 * 366),
        tables={
            DailyOrdersRow: ("day", _first_day),  # first: the rules look at it to know what is still told
            MonthlySalesRow: ("month", _month),
            SalesMonthRow: ("month", _month),
            DailyAmountRow: ("day", _first_day),
            DailyProductRow: ("day", _first_day),
        },
    ),
    stream_of={UnshippedOrderRow: stream_by("order", "order_id")},
)
