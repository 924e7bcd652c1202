"""The tables of the read model that orders are searched in. Names and columns are on disk."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.columns import Whole
from shop_contexts.orders.tables import Base


class OrderSearchRow(Base, kw_only=True):
    """One order: columns to filter and to sort by, each filter in an index that also sorts."""

    __tablename__ = "order_search"
    __table_args__ = (
        Index("order_search_by_time", "created_at", "number"),
        Index("order_search_by_total", "currency", "total", "number"),
        Index("order_search_of_customer", "customer_id", "created_at", "number"),
        Index("order_search_by_status", "status", "created_at", "number"),
        Index("order_search_by_country", "country", "created_at", "number"),
    )

    order_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, unique=True)
    """The key of its text: the global position of the event that created it."""
    customer_id: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(Integer)
    """The number of the OrderStatus."""
    country: Mapped[str] = mapped_column(String(2))
    created_at: Mapped[int] = mapped_column(BigInteger)
    """Microseconds since 1970 UTC."""
    currency: Mapped[str] = mapped_column(String(3))
    total: Mapped[int] = mapped_column(Whole)
    """In billionths of the currency."""
    position: Mapped[int] = mapped_column(BigInteger)
    """The global position of the last event that is in this row."""
    view: Mapped[bytes] = mapped_column(LargeBinary, info={"message": Order})
    """The ``shop.orders.v1.Order``, serialized."""


class OrderTextRow(Base, kw_only=True):
    """What an order is found by; on SQLite a table of FTS5."""

    __tablename__ = "order_search_text"

    rowid: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    words: Mapped[str] = mapped_column(Text)
