"""Two folds of a log of orders that need no engine: the context's own handlers, and a simple one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, TypeVar, cast

from google.protobuf.message import Message
from sqlalchemy import inspect

from shop.orders.v1 import events_pb2 as facts
from shop_contexts.orders.projections import orders_projection
from twofold.v1.recorded_event_pb2 import RecordedEvent
from twofold_server.modelling import Event, EventMetadata

R = TypeVar("R")
Row = tuple[Any, ...]
"""The values of a row, in the order of the table's columns."""
Tables = dict[str, dict[Hashable, Row]]
"""Rows by table and key."""

_EVENTS: Mapping[str, type[Message]] = {
    message.DESCRIPTOR.full_name: message
    for message in vars(facts).values()
    if isinstance(message, type) and issubclass(message, Message)
}
_STATUSES = {"OrderPaid": 2, "OrderShipped": 3, "OrderCompleted": 4, "OrderCancelled": 5}


class MemoryRows:
    """Rows (see modelling) in a dict."""

    def __init__(self) -> None:
        self.rows: dict[tuple[type[Any], Hashable], Any] = {}

    def get(self, table: type[R], key: Hashable) -> R | None:
        """See Rows."""
        return cast("R | None", self.rows.get((table, key)))

    def add(self, row: object) -> None:
        """See Rows."""
        assert _place(row) not in self.rows
        self.rows[_place(row)] = row

    def delete(self, row: object) -> None:
        """See Rows."""
        del self.rows[_place(row)]

    def touch(self, table: type[Any], key: Hashable) -> None:
        """See Rows; nothing is cached here."""


def columns_of(table: Any) -> list[str]:
    """The names of a table's columns, its key first."""
    return [column.key for column in sorted(table.__table__.columns, key=lambda c: not c.primary_key)]


def _place(row: object) -> tuple[type[Any], Hashable]:
    key = inspect(type(row)).primary_key_from_instance(row)
    return type(row), key[0] if len(key) == 1 else tuple(key)


def folded(log: Sequence[RecordedEvent]) -> Tables:
    """The log through the handlers of the context."""
    rows = MemoryRows()
    for recorded in log:
        event = _event(recorded)
        orders_projection.handlers[type(event.data)](event, rows)
    tables: Tables = {table.__tablename__: {} for table in orders_projection.tables}
    for (table, key), row in rows.rows.items():
        tables[table.__tablename__][key] = tuple(getattr(row, name) for name in columns_of(table))
    return tables


def _event(recorded: RecordedEvent) -> Event[Any]:
    return Event(
        _data(recorded),
        recorded.position,
        recorded.stream_name,
        recorded.stream_version,
        recorded.event_id,
        recorded.recorded_at.ToDatetime(UTC),
        EventMetadata(),
    )


def _data(recorded: RecordedEvent) -> Any:
    message = _EVENTS[recorded.event.TypeName()]()
    assert recorded.event.Unpack(message)
    return message


@dataclass
class SimpleOrder:
    """What matters of an order, in the plainest terms."""

    version: int = 0
    status: int = 1
    quantities: dict[str, int] = field(default_factory=dict)


def simply_folded(log: Sequence[RecordedEvent]) -> dict[str, SimpleOrder]:
    """The log as this file understands it, by order."""
    orders: dict[str, SimpleOrder] = {}
    for recorded in log:
        order = orders.setdefault(recorded.stream_name.removeprefix("order-"), SimpleOrder())
        order.version += 1
        _change(order, recorded.event.TypeName().rpartition(".")[2], _data(recorded))
    return orders


def _change(order: SimpleOrder, kind: str, fact: Any) -> None:
    match kind:
        case "OrderCreated":
            order.quantities = {item.product_id: item.quantity for item in fact.items}
        case "OrderItemAdded":
            order.quantities[fact.product_id] = order.quantities.get(fact.product_id, 0) + fact.quantity
        case "OrderItemRemoved":
            del order.quantities[fact.product_id]
        case "OrderItemQuantityChanged":
            order.quantities[fact.product_id] = fact.quantity
        case _:
            order.status = _STATUSES[kind]
