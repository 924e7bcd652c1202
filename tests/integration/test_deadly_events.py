"""An event whose handler ends the process is parked in the end, and the rest goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from sqlalchemy import select

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.tables import OrderRow
from tests.order_histories import History, folded, order_codec
from twofold_server.database import open_database
from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import Event, Rows
from twofold_server.projections.fold import Fold
from twofold_server.projections.letters import DeadLetter, Scope, dead_letters
from twofold_server.projections.parking import ParkingFold, Patience
from twofold_server.projections.schema import prepare

pytestmark = pytest.mark.timeout(120)
LOG = str(uuid.UUID(int=1))
DEADLY = "the-deadly-one"
DEATH = 66
ATTEMPTS = 2


def handlers() -> Mapping[type[Message], Any]:
    """Those of the orders, but one order's payment ends the process."""
    pay = orders_projection.handlers[facts.OrderPaid]

    def deadly(event: Event[Any], rows: Rows) -> None:
        if event.aggregate_id == DEADLY:
            os._exit(DEATH)
        pay(event, rows)

    return {**orders_projection.handlers, facts.OrderPaid: deadly}


def work(url: str, events: Sequence[RecordedEvent], at_a_time: int) -> None:
    """A projector: applies the log, so many events at a time, and stops."""

    async def project() -> None:
        async with open_database(url, readers=1) as database:
            await database.write(lambda c: prepare(c, [orders_projection]))
            projection = replace(orders_projection, handlers=handlers())
            fold = Fold(database=database, projection=projection, codec=order_codec())
            await fold.take_over(LOG)
            parking = ParkingFold(fold, Patience(attempts=ATTEMPTS, pause=0.001))
            parking.begin()
            for start in range(0, len(events), at_a_time):
                await parking.apply(events[start : start + at_a_time])
            await parking.close()

    asyncio.run(project())


def ended(process: BaseProcess) -> int | None:
    """How a process ended."""
    process.start()
    process.join(60)
    return process.exitcode


@pytest.mark.parametrize(("at_a_time", "before_it_is_suspected"), [(100, 1), (1, 2)])
async def test_an_event_that_ends_the_process_is_parked_after_the_limit(
    tmp_path: Path, at_a_time: int, before_it_is_suspected: int
) -> None:
    history = History()
    history.grow(20, seed=1)
    history.created(DEADLY)
    history.grow(5, seed=2)
    history.paid(DEADLY)
    history.shipped(DEADLY)
    history.grow(5, seed=3)
    url = f"sqlite+aiosqlite:///{tmp_path}/read.db"
    spawn = multiprocessing.get_context("spawn")
    ends = [
        await asyncio.to_thread(ended, spawn.Process(target=work, args=(url, history.events, at_a_time)))
        for _ in range(before_it_is_suspected + ATTEMPTS + 1)
    ]
    # A projector that ends where it began is the sign. Then the event is tried alone as often as is granted,
    # and after that it is not touched any more.
    assert ends == [DEATH] * (before_it_is_suspected + ATTEMPTS) + [0]
    async with open_database(url, read_only=True) as database:
        rows = await database.read(lambda c: c.execute(select(OrderRow.order_id, OrderRow.view)).all())
        letters: list[DeadLetter] = await database.read(lambda c: dead_letters(c, Scope("orders", 1)))
    assert [(letter.position, letter.attempts, letter.waiting) for letter in letters] == [(27, ATTEMPTS, 1)]
    rest = [event for event in history.events if event.position not in (27, 28)]
    assert {order_id: Order.FromString(view) for order_id, view in rows} == folded(rest)
