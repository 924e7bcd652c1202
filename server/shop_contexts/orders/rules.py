"""What must hold between the read models of orders and the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import Connection, func, select

from shop.orders.v1.events_pb2 import OrderCreated
from shop.orders.v1.values_pb2 import OrderStatus
from shop_contexts.orders.sales_tables import DailyAmountRow, DailyOrdersRow, MonthlySalesRow
from shop_contexts.orders.tables import CustomerRow, OrderRow
from twofold_server.modelling import Rule

Pairs = Mapping[str, tuple[Any, Any]]
_STANDING = (
    OrderStatus.ORDER_STATUS_PAID,
    OrderStatus.ORDER_STATUS_SHIPPED,
    OrderStatus.ORDER_STATUS_COMPLETED,
)
"""In these states an order is paid and was not cancelled."""


def _orders(connection: Connection, counts: Mapping[type[Message], int]) -> Pairs:
    created = counts[OrderCreated]
    rows = select(func.count()).select_from(OrderRow)
    return {
        "rows in orders": (created, _number(connection, rows)),
        "orders of all customers": (created, _number(connection, select(func.sum(CustomerRow.orders)))),
    }


def _sales(connection: Connection, counts: Mapping[type[Message], int]) -> Pairs:
    paid = select(func.count()).select_from(OrderRow).where(OrderRow.status.in_(_STANDING))
    cancelled = (
        select(func.count())
        .select_from(OrderRow)
        .where(OrderRow.status == OrderStatus.ORDER_STATUS_CANCELLED)
    )
    return {
        "paid orders of all days": (
            _number(connection, paid),
            _number(connection, select(func.sum(DailyOrdersRow.paid))),
        ),
        "cancelled orders of all days": (
            _number(connection, cancelled),
            _number(connection, select(func.sum(DailyOrdersRow.cancelled))),
        ),
        "sales of all days": (_amounts(connection, MonthlySalesRow), _amounts(connection, DailyAmountRow)),
    }


def _number(connection: Connection, query: Any) -> int:
    return int(connection.execute(query).scalar_one() or 0)


def _amounts(connection: Connection, table: Any) -> dict[str, int]:
    """The sum for each currency; added up here, as no 64 bits may hold it."""
    found: Counter[str] = Counter()
    for currency, amount in connection.execute(select(table.currency, table.amount)):
        found[currency] += amount
    return dict(sorted(found.items()))


order_rules = (
    Rule(name="every order has its row", projections=["orders"], counts=[OrderCreated], pairs=_orders),
    Rule(name="sales are those of the orders", projections=["orders", "order_sales"], pairs=_sales),
)
"""Checked by `twofold projections verify`."""
