"""The tables of the read model of orders. Names and columns are on disk."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from shop.orders.v1.views_pb2 import Order


class Base(MappedAsDataclass, DeclarativeBase):
    """The tables of this context."""


class OrderRow(Base, kw_only=True):
    """One order: columns to find it and to list it by, and the whole of it as one message.

    Each column costs the fold a microsecond an event; a list reads the message almost as fast.
    """

    __tablename__ = "orders"
    __table_args__ = (
        Index("orders_of_customer", "customer_id", "created_at", "order_id"),
        Index("orders_of_customer_by_status", "customer_id", "status", "created_at", "order_id"),
    )

    order_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    customer_id: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(Integer)
    """The number of the OrderStatus."""
    created_at: Mapped[int] = mapped_column(BigInteger)
    """Microseconds since 1970 UTC."""
    position: Mapped[int] = mapped_column(BigInteger)
    """The global position of the last event that is in this row."""
    view: Mapped[bytes] = mapped_column(LargeBinary, info={"message": Order})
    """The ``shop.orders.v1.Order``, serialized."""


class CustomerRow(Base, kw_only=True):
    """One customer, as far as a list of orders needs it."""

    __tablename__ = "order_customers"

    customer_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    orders: Mapped[int] = mapped_column(BigInteger)
    """How many orders there are: counting a million rows takes 80 ms."""
