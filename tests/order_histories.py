"""Histories of orders for the tests of the read side: facts as the log would hold them."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from google.type.money_pb2 import Money
from sqlalchemy import inspect

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.values_pb2 import Address, OrderItem
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.tables import OrderRow
from twofold_server.event_store.events import RecordedEvent
from twofold_server.messages.contract import read_contract
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import EventMetadata

R = TypeVar("R")
START = 1_790_000_000_000_000
"""When the first event of a history is recorded, in microseconds; each further one a second later."""

ADDRESS = Address(recipient="Ada", line1="1 Main St", city="London", postal_code="E1", country_code="GB")


def order_codec() -> EventCodec:
    """Knows the facts about orders."""
    return EventCodec([read_contract("shop.orders.v1")])


def euros(amount: str) -> Money:
    """An amount like ``12.50``."""
    units, _, rest = amount.partition(".")
    return Money(currency_code="EUR", units=int(units), nanos=int(rest.ljust(9, "0")))


def item(product_id: str, quantity: int, price: str) -> OrderItem:
    """An item at a price in euros."""
    return OrderItem(product_id=product_id, quantity=quantity, unit_price=euros(price))


class History:
    """A log of facts about orders, written one after the other."""

    def __init__(self, *, begins_at: int = 0) -> None:
        self.events: list[RecordedEvent] = []
        self._begins_at = begins_at
        self._versions: dict[str, int] = {}

    @property
    def head(self) -> int:
        """The position of the last event."""
        return self._begins_at + len(self.events)

    def add(self, fact: Any, *, recorded_at: int | None = None) -> RecordedEvent:
        """A fact happens."""
        position = self.head + 1
        version = self._versions[fact.order_id] = self._versions.get(fact.order_id, 0) + 1
        self.events.append(
            RecordedEvent(
                position,
                f"order-{fact.order_id}",
                version,
                str(uuid.uuid4()),
                fact.DESCRIPTOR.full_name,
                1,
                fact.SerializeToString(),
                EventMetadata("conversation", "request", "ada"),
                START + position * 1_000_000 if recorded_at is None else recorded_at,
            )
        )
        return self.events[-1]

    def created(
        self,
        order_id: str | None = None,
        *,
        customer_id: str = "ada",
        items: Iterable[OrderItem] = (),
        recorded_at: int | None = None,
    ) -> str:
        """An order begins; its id."""
        order_id = order_id or str(uuid.uuid4())
        self.add(
            facts.OrderCreated(
                order_id=order_id,
                customer_id=customer_id,
                items=list(items) or [item("tea", 2, "3.50")],
                shipping_address=ADDRESS,
            ),
            recorded_at=recorded_at,
        )
        return order_id

    def paid(self, order_id: str) -> None:
        """It is paid."""
        self.add(facts.OrderPaid(order_id=order_id, payment_reference="pay-1", amount=euros("7")))

    def shipped(self, order_id: str) -> None:
        """It is on its way."""
        self.add(facts.OrderShipped(order_id=order_id, carrier="post", tracking_number="1"))

    def grow(self, count: int, *, seed: int) -> None:
        """Random events of orders that live side by side."""
        dice = random.Random(seed)
        open_orders: list[str] = []
        for _ in range(count):
            order_id = dice.choice(open_orders) if open_orders and dice.random() < 0.7 else ""
            if not order_id:
                open_orders.append(self.created(str(uuid.UUID(int=dice.getrandbits(128)))))
            elif dice.random() < 0.5:
                self.add(
                    facts.OrderItemAdded(
                        order_id=order_id,
                        product_id=dice.choice("abc"),
                        quantity=dice.randint(1, 9),
                        unit_price=euros(f"{dice.randint(0, 99)}.{dice.randint(0, 99):02}"),
                    )
                )
            else:
                self.paid(order_id)
                open_orders.remove(order_id)


class DictRows:
    """Rows in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[Any, Any] = {}

    def get(self, table: type[R], key: Any) -> R | None:
        """See Rows."""
        row: R | None = self.rows.get((table, key))
        return row

    def add(self, row: Any) -> None:
        """See Rows."""
        place = _place(row)
        assert place not in self.rows
        self.rows[place] = row

    def delete(self, row: Any) -> None:
        """See Rows."""
        del self.rows[_place(row)]

    def touch(self, table: Any, key: Any) -> None:
        """See Rows; nothing is cached here."""


def _place(row: Any) -> tuple[Any, Any]:
    key = inspect(row).mapper.primary_key_from_instance(row)
    return type(row), key[0] if len(key) == 1 else tuple(key)


def folded(events: Sequence[RecordedEvent]) -> dict[str, Order]:
    """What the read model must be: the plain fold of a log, one event after the other, in memory."""
    rows, codec = DictRows(), order_codec()
    for event in events:
        seen = codec.event(event)
        orders_projection.handlers[type(seen.data)](seen, rows)
    return {key: Order.FromString(row.view) for (table, key), row in rows.rows.items() if table is OrderRow}
