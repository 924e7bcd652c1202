"""Requests of a shop's customers, and the way to its servers."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.type.money_pb2 import Money

from shop.orders.v1.command_service_pb2 import CreateOrderRequest, PayOrderRequest
from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from shop.orders.v1.query_service_pb2_grpc import QueryServiceStub
from shop.orders.v1.values_pb2 import Address, OrderItem
from tests.e2e.systems import System
from twofold.v1.event_service_pb2 import ReadEventsRequest
from twofold.v1.event_service_pb2_grpc import EventServiceStub
from twofold.v1.recorded_event_pb2 import RecordedEvent
from twofold_client import Client, ClientConfig, connect

if TYPE_CHECKING:
    from shop.orders.v1.command_service_pb2_grpc import CommandServiceAsyncStub
    from shop.orders.v1.query_service_pb2_grpc import QueryServiceAsyncStub
    from twofold.v1.event_service_pb2_grpc import EventServiceAsyncStub

DOMAIN = "shop.orders.v1"
ENGINE = "twofold.v1"
HOME = Address(
    recipient="Ada Lovelace",
    line1="12 St James's Square",
    city="London",
    postal_code="SW1Y 4JH",
    country_code="GB",
)


def new_id() -> str:
    """A UUID in small letters."""
    return str(uuid.uuid4())


def money(units: int, nanos: int = 0, currency: str = "EUR") -> Money:
    """An amount."""
    return Money(currency_code=currency, units=units, nanos=nanos)


def item(product: str = "tea", quantity: int = 1, price: Money | None = None) -> OrderItem:
    """One product."""
    return OrderItem(product_id=product, quantity=quantity, unit_price=price or money(10))


def an_order(*items: OrderItem, **fields: Any) -> CreateOrderRequest:
    """A valid order, with fields of the request set otherwise where given."""
    usual: dict[str, Any] = {"customer_id": "ada", "shipping_address": HOME, "request_id": new_id()}
    return CreateOrderRequest(items=items or [item()], **usual | fields)


def a_payment(order_id: str, **fields: Any) -> PayOrderRequest:
    """A valid payment."""
    usual: dict[str, Any] = {"payment_reference": "card-1", "request_id": new_id()}
    return PayOrderRequest(order_id=order_id, **usual | fields)


@dataclass(frozen=True)
class Shop:
    """Stubs for the services of one system."""

    client: Client
    commands: CommandServiceAsyncStub
    queries: QueryServiceAsyncStub
    events: EventServiceAsyncStub

    async def create(self, *items: OrderItem, **fields: Any) -> str:
        """Create an order; its id."""
        answer = await self.commands.CreateOrder(an_order(*items, **fields))
        return answer.receipt.aggregate_id

    async def log(self, after: int = 0) -> list[RecordedEvent]:
        """The events after a position."""
        answers = self.events.ReadEvents(ReadEventsRequest(after_position=after))
        return [event async for answer in answers for event in answer.events]

    async def head(self) -> int:
        """The last position of the log."""
        async for answer in self.events.ReadEvents(ReadEventsRequest(limit=1)):
            return answer.head_position
        raise AssertionError("ReadEvents answers nothing")


@asynccontextmanager
async def visiting(system: System, **how: Any) -> AsyncIterator[Shop]:
    """The shop of a system, in a session of its own; calls are not retried unless ``config`` says so."""
    how.setdefault("config", ClientConfig(attempts=1))
    async with connect(system.command_address, system.query_address, **how) as client:
        yield Shop(
            client=client,
            commands=client.stub(CommandServiceStub),
            queries=client.stub(QueryServiceStub),
            events=client.stub(EventServiceStub),
        )
