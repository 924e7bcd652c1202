"""What Twofold is an alternative to: orders as rows, one SQLAlchemy ORM transaction a request, on SQLite.

The same contract for two RPCs, the same gRPC server settings, the same sync to disk. No events, no request
ids, no validation, nobody who listens. ``python -m bench.crud_server host:port file``
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
from sqlalchemy import ForeignKey, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload
from uuid_utils import uuid7

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1 import query_service_pb2 as queries
from twofold_server.lifecycle import run_role, settle
from twofold_server.rpc.health import Health
from twofold_server.rpc.server import Handlers, ServerConfig, serving
from twofold_server.settings import Settings, load_settings


class Base(DeclarativeBase):
    """The tables."""


class OrderRow(Base):
    """An order."""

    __tablename__ = "orders"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[str] = mapped_column(index=True)
    recipient: Mapped[str]
    line1: Mapped[str]
    city: Mapped[str]
    country_code: Mapped[str]
    items: Mapped[list[ItemRow]] = relationship(cascade="all, delete-orphan")


class ItemRow(Base):
    """A line of an order."""

    __tablename__ = "items"

    order_id: Mapped[str] = mapped_column(ForeignKey("orders.order_id"), primary_key=True)
    product_id: Mapped[str] = mapped_column(primary_key=True)
    quantity: Mapped[int]
    currency: Mapped[str]
    units: Mapped[int]
    nanos: Mapped[int]


class Orders:
    """The two RPCs."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def create(self, request: commands.CreateOrderRequest, _: Any) -> commands.CreateOrderResponse:
        """Store an order."""
        address, order_id = request.shipping_address, request.order_id or str(uuid7())
        row = OrderRow(
            order_id=order_id,
            customer_id=request.customer_id,
            recipient=address.recipient,
            line1=address.line1,
            city=address.city,
            country_code=address.country_code,
            items=[
                ItemRow(
                    product_id=item.product_id,
                    quantity=item.quantity,
                    currency=item.unit_price.currency_code,
                    units=item.unit_price.units,
                    nanos=item.unit_price.nanos,
                )
                for item in request.items
            ],
        )
        async with self._sessions.begin() as session:
            session.add(row)
        response = commands.CreateOrderResponse()
        response.receipt.aggregate_id = order_id
        return response

    async def get(self, request: queries.GetOrderRequest, context: Any) -> queries.GetOrderResponse:
        """Read an order."""
        async with self._sessions() as session:
            row = await session.get(OrderRow, request.order_id, options=[selectinload(OrderRow.items)])
        if row is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such order")
            raise AssertionError
        response = queries.GetOrderResponse()
        response.order.order_id, response.order.customer_id = row.order_id, row.customer_id
        for item in row.items:
            response.order.items.add(product_id=item.product_id, quantity=item.quantity)
        return response


async def crud_server(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{sys.argv[2]}")
    event.listen(engine.sync_engine, "connect", _set_up)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    orders = Orders(async_sessionmaker(engine, expire_on_commit=False))
    config = ServerConfig(
        address=settings.command_address,
        max_message_bytes=settings.max_message_bytes,
        drain_seconds=settings.drain_seconds,
    )
    health, services = Health(), _services(orders)
    async with serving(config, services, health, packages=[]):
        settle()
        await health.set(services, True)
        await stop.wait()
    await engine.dispose()


def _services(orders: Orders) -> Handlers:
    create: Any = grpc.unary_unary_rpc_method_handler(
        orders.create,
        request_deserializer=commands.CreateOrderRequest.FromString,
        response_serializer=commands.CreateOrderResponse.SerializeToString,
    )
    get: Any = grpc.unary_unary_rpc_method_handler(
        orders.get,
        request_deserializer=queries.GetOrderRequest.FromString,
        response_serializer=queries.GetOrderResponse.SerializeToString,
    )
    return {
        "shop.orders.v1.CommandService": {"CreateOrder": create},
        "shop.orders.v1.QueryService": {"GetOrder": get},
    }


def _set_up(connection: Any, _: Any) -> None:
    """Durable, and not locked out by each other: as kind to it as its documentation allows."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=60000"):
        connection.execute(f"PRAGMA {pragma}")


if __name__ == "__main__":
    run_role(load_settings(command_address=sys.argv[1]), crud_server)
