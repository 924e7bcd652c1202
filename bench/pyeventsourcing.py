"""Orders with pyeventsourcing: its projection, which folds one event a transaction, timed from outside it.

``python -m bench.pyeventsourcing host database count file`` prints events a second as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.sqlite import SQLiteTrackingRecorder

from bench.orders import ADDRESS, ITEMS

_LINES = [{"product": p, "quantity": q, "units": u, "nanos": n} for p, q, u, n in ITEMS]


class Order(Aggregate):
    """An order of three lines."""

    class Created(Aggregate.Created):
        """The order begins."""

        customer: str
        lines: list[dict[str, Any]]
        address: dict[str, str]

    def __init__(self, customer: str, lines: list[dict[str, Any]], address: dict[str, str]) -> None:
        self.customer, self.lines, self.address = customer, lines, address


class Orders(Application[UUID]):
    """The write side."""

    def create(self) -> int:
        """Create an order; the position of its event."""
        order = Order(customer="alice", lines=_LINES, address=ADDRESS)
        recorded = self.save(order)
        return int(recorded[-1].notification.id)


class View(SQLiteTrackingRecorder):
    """A table of orders, in SQLite."""

    def construct_create_table_statements(self) -> list[str]:
        """With the table of the tracking."""
        return [
            *super().construct_create_table_statements(),
            "CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, customer TEXT, content TEXT)",
        ]

    def add(self, order_id: str, customer: str, content: str, tracking: Tracking) -> None:
        """Write a row and the position."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute("INSERT INTO orders VALUES (?, ?, ?)", (order_id, customer, content))


class OrdersProjection(Projection[View]):
    """The fold."""

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """One event, one transaction."""
        content = json.dumps([domain_event.lines, domain_event.address])
        self.view.add(str(domain_event.originator_id), domain_event.customer, content, tracking)


def main() -> None:
    """Fill a log, then fold it."""
    host, database, count, file = sys.argv[1:]
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_HOST": host,
        "POSTGRES_DBNAME": database,
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": "",
        "ORDERSPROJECTION_PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "ORDERSPROJECTION_SQLITE_DBNAME": file,
    }
    app = Orders(env)
    last = [app.create() for _ in range(int(count))][-1]
    began = time.perf_counter()
    with ProjectionRunner(
        application_class=Orders, projection_class=OrdersProjection, view_class=View, env=env
    ) as runner:
        runner.wait(last, timeout=600)
        print(json.dumps({"rate": int(count) / (time.perf_counter() - began)}))


if __name__ == "__main__":
    main()
