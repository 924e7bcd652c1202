"""The tables of the read model of sales. Names and columns are on disk.

A month is the number 202611, a day 20261120, in UTC. What counts when is told in sales.py.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.columns import Whole
from shop_contexts.orders.tables import Base


class UnshippedOrderRow(Base, kw_only=True):
    """An order that may still be changed, paid or cancelled; it goes when it is shipped or cancelled."""

    __tablename__ = "order_sales_unshipped"

    order_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    """The global position of the last event that is in this row."""
    view: Mapped[bytes] = mapped_column(LargeBinary, info={"message": Order})
    """The ``shop.orders.v1.Order`` without its address, serialized."""


class MonthlySalesRow(Base, kw_only=True):
    """What was sold of one product in one month, in one currency; gone when all of it was cancelled."""

    __tablename__ = "order_sales_monthly"
    __table_args__ = (Index("order_sales_monthly_of_product", "product_id", "month", "currency"),)

    month: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    product_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    quantity: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[int] = mapped_column(Whole)
    """In billionths of the currency."""


class SalesMonthRow(Base, kw_only=True):
    """How many rows of monthly sales a month has: a page tells of all, and counting them takes its time."""

    __tablename__ = "order_sales_months"

    month: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    rows: Mapped[int] = mapped_column(BigInteger)


class DailyOrdersRow(Base, kw_only=True):
    """The orders of one day."""

    __tablename__ = "order_sales_daily"

    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    orders: Mapped[int] = mapped_column(BigInteger)
    """Created on this day, and not cancelled since."""
    cancelled: Mapped[int] = mapped_column(BigInteger)
    """Created on this day, and cancelled since."""
    paid: Mapped[int] = mapped_column(BigInteger)
    """Paid on this day, and not cancelled since."""


class DailyAmountRow(Base, kw_only=True):
    """What was sold on one day, in one currency; gone when all of it was cancelled."""

    __tablename__ = "order_sales_daily_amounts"

    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    orders: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[int] = mapped_column(Whole)
    """In billionths of the currency."""


class DailyProductRow(Base, kw_only=True):
    """How many of one product were sold on one day; gone when all of them were cancelled."""

    __tablename__ = "order_sales_daily_products"

    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    product_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    quantity: Mapped[int] = mapped_column(BigInteger)


Index(
    "order_sales_daily_products_top",
    DailyProductRow.day,
    DailyProductRow.quantity.desc(),
    DailyProductRow.product_id,
)
