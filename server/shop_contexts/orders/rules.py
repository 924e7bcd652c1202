"""What must hold between the read models of orders and the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import ColumnElement, Connection, func, select

from shop.orders.v1.events_pb2 import OrderCreated
from shop.orders.v1.values_pb2 import OrderStatus
from shop_contexts.orders.periods import FIRST_DAY, start_of_day
from shop_contexts.orders.sales_tables import DailyAmountRow, DailyOrdersRow, MonthlySalesRow
from shop_contexts.orders.tables import CustomerRow, OrderRow
from twofold_server.modelling import Rule

Pairs = Mapping[str, tuple[Any, Any]]


def _orders(connection: Connection, counts: Mapping[type[Message], int]) -> Pairs:
    created = counts[OrderCreated]
    rows = select(func.count()).select_from(OrderRow)
    return {
        "rows in orders": (created, _number(connection, rows)),
        "orders of all customers": (created, _number(connection, select(func.sum(CustomerRow.orders)))),
    }


def _sales(connection: Connection, counts: Mapping[type[Message], int]) -> Pairs:
    """Of the time that the sums still tell of: older ones go, the counts of orders before all others."""
    first = connection.execute(select(func.min(DailyOrdersRow.day))).scalar() or FIRST_DAY
    orders = select(func.count()).select_from(OrderRow).where(OrderRow.created_at >= start_of_day(first))
    cancelled = OrderRow.status == OrderStatus.ORDER_STATUS_CANCELLED
    days, months = DailyAmountRow.day >= first, MonthlySalesRow.month >= first // 100
    return {
        "orders of all days": (
            _number(connection, orders.where(~cancelled)),
            _number(connection, select(func.sum(DailyOrdersRow.orders))),
        ),
        "cancelled orders of all days": (
            _number(connection, orders.where(cancelled)),
            _number(connection, select(func.sum(DailyOrdersRow.cancelled))),
        ),
        "paid orders of all days": (
            _number(connection, select(func.sum(DailyAmountRow.orders)).where(days)),
            _number(connection, select(func.sum(DailyOrdersRow.paid))),
        ),
        "sales of all days": (
            _amounts(connection, MonthlySalesRow, months),
            _amounts(connection, DailyAmountRow, days),
        ),
    }


def _number(connection: Connection, query: Any) -> int:
    return int(connection.execute(query).scalar_one() or 0)


def _amounts(connection: Connection, table: Any, some: ColumnElement[bool]) -> dict[str, int]:
    """The sum for each currency; added up here, as no 64 bits may hold it."""
    found: Counter[str] = Counter()
    for currency, amount in connection.execute(select(table.currency, table.amount).where(some)):
        found[currency] += amount
    return dict(sorted(found.items()))


order_rules = (
    Rule(name="every order has its row", projections=["orders"], counts=[OrderCreated], pairs=_orders),
    Rule(name="sales are those of the orders", projections=["orders", "order_sales"], pairs=_sales),
)
"""Checked by `twofold projections verify`."""
