"""The read model against two folds of the log that are made here: the context's own, and a simple one."""

from __future__ import annotations

import sqlite3
from collections.abc import Hashable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders import context
from shop_contexts.orders.tables import OrderRow
from tests.e2e.drill.audit import Findings
from twofold.v1.recorded_event_pb2 import RecordedEvent
from twofold_server.modelling import Event, EventMetadata

R = TypeVar("R")
_EVENTS: Mapping[str, type[Message]] = {
    message.DESCRIPTOR.full_name: message
    for message in vars(facts).values()
    if isinstance(message, type) and issubclass(message, Message)
}
_STATUSES = {"OrderPaid": 2, "OrderShipped": 3, "OrderCompleted": 4, "OrderCancelled": 5}
_COLUMNS = ("order_id", "customer_id", "status", "created_at", "position", "view")


def audit_read_model(database: Path, log: Sequence[RecordedEvent]) -> Findings:
    """Every row of the orders against both folds, and the checkpoint against the log."""
    rows, checkpoint = _stored(database)
    by_handlers = {row.order_id: tuple(getattr(row, c) for c in _COLUMNS) for row in folded(log)}
    simple = _simply_folded(log)
    return {
        "rows that are not the fold": _different(rows, by_handlers),
        "rows that a simple fold disputes": _different(_facts_of(rows), simple),
        "positions that the checkpoint lacks": abs(len(log) - checkpoint),
    }


def _stored(database: Path) -> tuple[dict[str, tuple[Any, ...]], int]:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM orders").fetchall()
        [(checkpoint,)] = connection.execute(
            "SELECT position FROM projection_checkpoints WHERE projection = 'orders'"
        ).fetchall()
    return {row[0]: row for row in rows}, checkpoint


def _different(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> int:
    return sum(found.get(key) != wanted.get(key) for key in found.keys() | wanted.keys())


class MemoryRows:
    """Rows (see modelling) in a dict."""

    def __init__(self) -> None:
        self.orders: dict[Hashable, OrderRow] = {}

    def get(self, table: type[R], key: Hashable) -> R | None:
        """See Rows."""
        return cast("R | None", self.orders.get(key))

    def add(self, row: object) -> None:
        """See Rows."""
        assert isinstance(row, OrderRow)
        assert row.order_id not in self.orders
        self.orders[row.order_id] = row

    def delete(self, row: object) -> None:
        """See Rows."""
        assert isinstance(row, OrderRow)
        del self.orders[row.order_id]


def folded(log: Sequence[RecordedEvent]) -> Sequence[OrderRow]:
    """The log through the handlers of the context, without the engine."""
    rows = MemoryRows()
    [handlers] = [projection.handlers for projection in context.projections if projection.name == "orders"]
    for recorded in log:
        event = _event(recorded)
        handlers[type(event.data)](event, rows)
    return list(rows.orders.values())


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


def _simply_folded(log: Sequence[RecordedEvent]) -> dict[str, SimpleOrder]:
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


def _facts_of(rows: Mapping[str, tuple[Any, ...]]) -> dict[str, SimpleOrder]:
    views = [Order.FromString(row[-1]) for row in rows.values()]
    return {
        view.order_id: SimpleOrder(
            view.version, view.status, {item.product_id: item.quantity for item in view.items}
        )
        for view in views
    }
