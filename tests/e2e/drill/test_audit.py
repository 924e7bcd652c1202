"""The drill's own eyes: each fault that it looks for is found where there is one."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.message import Message

from shop.orders.v1 import events_pb2 as facts
from shop_contexts.orders.projections import orders_projection
from tests.e2e.drill.audit import Findings, audit_log, audit_watch
from tests.e2e.drill.folds import columns_of, folded
from tests.e2e.drill.journal import Journal
from tests.e2e.drill.read_model import audit_read_model
from tests.e2e.drill.watchers import Watch
from tests.e2e.shop import item
from twofold.v1.command_pb2 import Receipt
from twofold.v1.recorded_event_pb2 import RecordedEvent

Log = list[RecordedEvent]


def recorded(position: int, order: str, version: int, request: str, fact: Message) -> RecordedEvent:
    event = RecordedEvent(
        position=position, stream_name=f"order-{order}", stream_version=version, event_id=f"event-{position}"
    )
    event.metadata.causation_id = request
    event.recorded_at.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    event.event.Pack(fact)
    return event


def a_log() -> Log:
    return [
        recorded(1, "a", 1, "r1", facts.OrderCreated(order_id="a", customer_id="ada", items=[item()])),
        recorded(2, "b", 1, "r2", facts.OrderCreated(order_id="b", customer_id="bob", items=[item()])),
        recorded(3, "a", 2, "r3", facts.OrderPaid(order_id="a", payment_reference="card")),
    ]


def a_journal() -> Journal:
    journal = Journal()
    for request, order, version, position in (("r1", "a", 1, 1), ("r2", "b", 1, 2), ("r3", "a", 2, 3)):
        journal.acknowledge(request, "X", Receipt(aggregate_id=order, version=version, position=position))
    journal.refuse("r4", "X", "ORDER_NOT_PAID")
    return journal


def found(findings: Findings) -> set[str]:
    return {name for name, count in findings.items() if count}


def lose_the_last(log: Log) -> None:
    log.pop()


def lose_one_in_between(log: Log) -> None:
    del log[1]


def do_one_twice(log: Log) -> None:
    again = copy.deepcopy(log[2])
    again.position, again.stream_version, again.event_id = 4, 3, "event-4"
    log.append(again)


def swap_two(log: Log) -> None:
    log[0].position, log[1].position = 2, 1


def store_what_was_refused(log: Log) -> None:
    log.append(recorded(4, "b", 2, "r4", facts.OrderPaid(order_id="b")))


def store_what_nobody_asked_for(log: Log) -> None:
    log.append(recorded(4, "b", 2, "r5", facts.OrderPaid(order_id="b")))


def skip_a_version(log: Log) -> None:
    log[2].stream_version = 3


FAULTS: list[tuple[Callable[[Log], None], set[str]]] = [
    (lose_the_last, {"acknowledged but lost"}),
    (lose_one_in_between, {"acknowledged but lost", "holes in positions"}),
    (do_one_twice, {"applied twice"}),
    (swap_two, {"acknowledged otherwise than stored", "holes in positions"}),
    (store_what_was_refused, {"refused but stored"}),
    (store_what_nobody_asked_for, {"stored but never asked for"}),
    (skip_a_version, {"acknowledged otherwise than stored", "holes in stream versions"}),
]


def test_a_log_as_it_should_be_has_no_fault() -> None:
    assert found(audit_log(a_log(), a_journal())) == set()


@pytest.mark.parametrize(("damage", "faults"), FAULTS)
def test_a_fault_in_the_log_is_found(damage: Callable[[Log], None], faults: set[str]) -> None:
    log = a_log()
    damage(log)
    assert found(audit_log(log, a_journal())) == faults


def test_a_caller_that_is_told_two_things_is_noticed() -> None:
    journal = a_journal()
    journal.acknowledge("r1", "X", Receipt(aggregate_id="a", version=1, position=9))
    journal.acknowledge("r4", "X", Receipt(aggregate_id="a", version=3, position=4))
    journal.refuse("r2", "X", "ORDER_NOT_PENDING")
    assert len(journal.contradictions) == 3


@pytest.mark.parametrize(
    ("seen", "faults"),
    [
        ([1, 2, 3], set()),
        ([1, 2], {"missed by x"}),
        ([1, 3], {"missed by x"}),
        ([1, 2, 2, 3], {"repeated to x"}),
        ([1, 3, 2], {"missed by x", "repeated to x"}),
    ],
)
def test_what_a_reader_misses_or_sees_twice_is_found(seen: list[int], faults: set[str]) -> None:
    watch = Watch()
    for position in seen:
        watch.see(position, f"event-{position}")
    assert found(audit_watch("x", watch, a_log())) == faults


def test_another_event_in_the_place_of_one_is_found() -> None:
    watch = Watch()
    for position, event_id in enumerate(["event-1", "somebody else's", "event-3"], start=1):
        watch.see(position, event_id)
    assert found(audit_watch("x", watch, a_log())) == {"other events seen by x"}


@pytest.mark.parametrize(
    ("damage", "faults"),
    [
        ("SELECT 1", set()),
        (
            "DELETE FROM orders WHERE order_id = 'b'",
            {"rows that are not the fold", "rows that a simple fold disputes"},
        ),
        ("UPDATE orders SET status = 1 WHERE order_id = 'a'", {"rows that are not the fold"}),
        (
            "UPDATE orders SET view = (SELECT view FROM orders WHERE order_id = 'b') WHERE order_id = 'a'",
            {"rows that are not the fold", "rows that a simple fold disputes"},
        ),
        ("UPDATE projection_builds SET position = 2", {"positions that the checkpoint lacks"}),
    ],
)
def test_a_read_model_that_is_not_the_fold_is_found(tmp_path: Path, damage: str, faults: set[str]) -> None:
    database = tmp_path / "read.db"
    fill(database, a_log())
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(damage)
        connection.commit()
    assert found(audit_read_model(database, a_log())) == faults


def fill(database: Path, log: Log) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE projection_builds (projection, position, state)")
        connection.execute("INSERT INTO projection_builds VALUES ('orders', ?, 'live')", [len(log)])
        for table in orders_projection.tables:
            columns = columns_of(table)
            connection.execute(f"CREATE TABLE {table.__tablename__} ({', '.join(columns)})")
            for row in folded(log)[table.__tablename__].values():
                marks = ", ".join("?" * len(columns))
                connection.execute(f"INSERT INTO {table.__tablename__} VALUES ({marks})", row)
        connection.commit()
