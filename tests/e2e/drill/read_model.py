"""The read model of orders against two folds of the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Hashable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.tables import OrderRow
from tests.e2e.drill.audit import Findings
from tests.e2e.drill.folds import Row, SimpleOrder, Tables, columns_of, folded, simply_folded
from twofold.v1.recorded_event_pb2 import RecordedEvent


def audit_read_model(database: Path, log: Sequence[RecordedEvent]) -> Findings:
    """Every row of every table against the folds, and the checkpoint against the log."""
    with closing(sqlite3.connect(database)) as connection:
        stored = _stored(connection)
        [(checkpoint,)] = connection.execute(
            "SELECT position FROM projection_builds WHERE projection = 'orders' AND state = 'live'"
        ).fetchall()
    wanted = folded(log)
    seen = {key: _simple(row) for key, row in stored[OrderRow.__tablename__].items()}
    return {
        "rows that are not the fold": sum(_different(stored[name], wanted[name]) for name in wanted),
        "rows that a simple fold disputes": _different(seen, simply_folded(log)),
        "positions that the checkpoint lacks": abs(len(log) - checkpoint),
    }


def _stored(connection: sqlite3.Connection) -> Tables:
    found: Tables = {}
    for table in orders_projection.tables:
        names = ", ".join(columns_of(table))
        keys = len(table.__table__.primary_key.columns)
        rows = connection.execute(f"SELECT {names} FROM {table.__tablename__}").fetchall()
        found[table.__tablename__] = {row[0] if keys == 1 else row[:keys]: row for row in rows}
    return found


def _different(found: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> int:
    keys: set[Hashable] = {*found, *wanted}
    return sum(found.get(key) != wanted.get(key) for key in keys)


def _simple(row: Row) -> SimpleOrder:
    view = Order.FromString(row[columns_of(OrderRow).index("view")])
    return SimpleOrder(view.version, view.status, {item.product_id: item.quantity for item in view.items})
