"""A log that has many events before anything is measured, written by the store itself."""

from __future__ import annotations

import asyncio
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from google.protobuf.message import Message
from google.type.money_pb2 import Money
from uuid_utils import uuid7

from bench.orders import ADDRESS, ITEMS, numbered_id
from shop.orders.v1.command_service_pb2 import CreateOrderResponse
from shop.orders.v1.events_pb2 import OrderCreated, OrderPaid
from shop.orders.v1.values_pb2 import Address, OrderItem
from twofold.v1.command_pb2 import Receipt
from twofold_server.database import open_database
from twofold_server.event_store.appending import Append
from twofold_server.event_store.events import NewEvent
from twofold_server.event_store.expected_version import NoStream
from twofold_server.event_store.sql import SqlEventStore
from twofold_server.messages.tokens import consistency_token
from twofold_server.modelling import EventMetadata

BATCH = 500
"""Appends in one transaction while filling."""
_BEGINNINGS = ("Ad", "Bel", "Cor", "Dor", "El", "Far", "Gil", "Har", "Ist", "Jor")
_ENDINGS = ("an", "ine", "eth", "or", "is", "emar", "ovan", "une", "eska", "ifer")
FIRST_NAMES = [beginning + ending for beginning in _BEGINNINGS for ending in _ENDINGS]
LAST_NAMES = [ending.title() + beginning.lower() for beginning in _BEGINNINGS for ending in _ENDINGS]
_TOTAL = Money(currency_code="EUR", units=91, nanos=500_000_000)


def fill(url: str, count: int, *, paid: bool = False) -> None:
    """Append so many new orders to the log of a database; nothing is synced on the way.

    An order that is ``paid`` has two events, any other one.
    """
    asyncio.run(_fill(url, count, paid))


async def _fill(url: str, count: int, paid: bool) -> None:
    async with open_database(url, synchronous="OFF") as database:
        store = await SqlEventStore.open(database)
        orders = new_orders(store.log_id, map(numbered_id, range(count)), paid=paid)
        for batch in in_batches(orders, BATCH):
            await store.append(batch)


def in_batches(appends: Iterator[Append], size: int) -> Iterator[list[Append]]:
    """The appends in lists of a size."""
    while batch := list(islice(appends, size)):
        yield batch


def database_url(file: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite+aiosqlite:///{file}"


def random_id() -> str:
    """An id as most callers make them, which falls anywhere into an index."""
    return str(uuid.uuid4())


def ordered_id() -> str:
    """An id as twofold_client makes them, which falls at the end of an index."""
    return str(uuid7())


def new_orders(
    log_id: str,
    order_ids: Iterable[str],
    *,
    request_id: Callable[[], str] = random_id,
    paid: bool = False,
) -> Iterator[Append]:
    """What the command server appends for CreateOrder; and, in one, for PayOrder."""
    for order_id in order_ids:
        yield _new_order(log_id, order_id, request_id(), paid)


def recipient_of(order_id: str) -> str:
    """To whom a numbered order goes: one of 10,000 people."""
    number = zlib.crc32(order_id.encode()) % 10_000
    return f"{FIRST_NAMES[number // 100]} {LAST_NAMES[number % 100]}"


def _new_order(log_id: str, order_id: str, request_id: str, paid: bool) -> Append:
    address = Address(**ADDRESS | {"recipient": recipient_of(order_id)})
    facts: list[Message] = [
        OrderCreated(order_id=order_id, customer_id="alice", items=order_items(), shipping_address=address)
    ]
    if paid:
        facts.append(OrderPaid(order_id=order_id, payment_reference="card", amount=_TOTAL))
    events = [
        NewEvent(
            event_id=str(uuid7()),
            type_name=fact.DESCRIPTOR.full_name,
            revision=1,
            data=fact.SerializeToString(),
            metadata=EventMetadata(request_id, request_id),
        )
        for fact in facts
    ]

    def respond(position: int) -> bytes:
        receipt = Receipt(
            aggregate_id=order_id,
            version=len(events),
            position=position,
            consistency_token=consistency_token(log_id, position),
        )
        return CreateOrderResponse(receipt=receipt).SerializeToString()

    return Append(
        stream_name=f"order-{order_id}",
        expected=NoStream(),
        events=events,
        respond=respond,
        request_id=request_id,
        request_hash=uuid.uuid4().bytes,
    )


def order_items() -> Sequence[OrderItem]:
    """The three lines of every order."""
    return [
        OrderItem(
            product_id=product,
            quantity=quantity,
            unit_price=Money(currency_code="EUR", units=units, nanos=nanos),
        )
        for product, quantity, units, nanos in ITEMS
    ]
