"""Workers that fill one build together: whatever they share, the rows are the fold of the log at the end."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.tables import CustomerRow, OrderRow
from tests.order_histories import History, folded, order_codec
from twofold_server.database import Database, open_database
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.filters import partition_of
from twofold_server.modelling import Event, Projection, Rows
from twofold_server.projections import builds
from twofold_server.projections.checkpoints import Checkpoint, TakenOver
from twofold_server.projections.fold import Fold
from twofold_server.projections.letters import Scope, dead_letters
from twofold_server.projections.part_fold import PartFold
from twofold_server.projections.parts import Part, join, read_parts, split
from twofold_server.projections.schema import prepare
from twofold_server.projections.sources import LogAway, PartitionBatch
from twofold_server.projections.switching import switch_patiently
from twofold_server.projections.worker import fold_part

LOG = str(uuid.uuid4())


class LogInMemory:
    """A log that is sent in small batches, and goes away now and then."""

    def __init__(self, events: Sequence[RecordedEvent], *, away: float = 0.0) -> None:
        self.events = events
        self._away = away
        self._random = random.Random(1)

    async def read_partitions(
        self, after: int, partitions: Sequence[int]
    ) -> AsyncGenerator[PartitionBatch, None]:
        for start in range(after, len(self.events), 20):
            if self._random.random() < self._away:
                raise LogAway("the command server is away")
            batch = self.events[start : start + 20]
            wanted = [event for event in batch if partition_of(event.stream_name) in partitions]
            yield PartitionBatch(wanted, batch[-1].position)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, [orders_projection]))
        await Fold(database=database, projection=orders_projection, codec=order_codec()).take_over(LOG)
        yield database


@pytest.fixture
def history() -> History:
    history = History()
    history.grow(600, seed=1)
    return history


async def begun(database: Database, workers: int, target: int) -> tuple[Checkpoint, list[Part]]:
    build = await database.write(lambda c: builds.begin(c, orders_projection, LOG))
    parts = await database.write(partial(split, build=build, workers=workers, target=target))
    return build, parts


async def work(
    database: Database, part: Part, log: LogInMemory, projection: Projection = orders_projection
) -> None:
    fold = PartFold(database=database, projection=projection, codec=order_codec(), part=part)
    await fold_part(fold, log, tell=lambda position: None)


async def finished(database: Database, build: Checkpoint) -> None:
    await database.write(partial(join, build=build))
    await switch_patiently(database, "orders", build.build)


async def shown(database: Database) -> dict[str, Order]:
    rows = await database.read(lambda c: c.execute(select(OrderRow.order_id, OrderRow.view)).all())
    return {order_id: Order.FromString(view) for order_id, view in rows}


async def counted(database: Database) -> dict[str, int]:
    query = select(CustomerRow.customer_id, CustomerRow.orders)
    return dict(await database.read(lambda c: c.execute(query).all()))


@pytest.mark.parametrize("workers", [1, 4])
async def test_workers_together_make_the_fold_of_the_log(
    database: Database, history: History, workers: int
) -> None:
    """All orders are of few customers, whose counters every worker writes."""
    build, parts = await begun(database, workers, target=600)
    log = LogInMemory(history.events)
    await asyncio.gather(*(work(database, part, log) for part in parts))
    await finished(database, build)
    wanted = folded(history.events)
    assert await shown(database) == wanted
    assert await counted(database) == Counter(order.customer_id for order in wanted.values())


async def test_workers_stop_at_their_target(database: Database, history: History) -> None:
    build, parts = await begun(database, 3, target=333)
    await asyncio.gather(*(work(database, part, LogInMemory(history.events)) for part in parts))
    await finished(database, build)
    assert await shown(database) == folded(history.events[:333])


async def test_a_log_that_goes_away_delays_workers_and_nothing_else(
    database: Database, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twofold_server.projections.worker.RETRY_SECONDS", 0.01)
    build, parts = await begun(database, 2, target=600)
    log = LogInMemory(history.events, away=0.1)
    await asyncio.gather(*(work(database, part, log) for part in parts))
    await finished(database, build)
    assert await shown(database) == folded(history.events)


async def test_workers_that_die_are_followed_by_others_that_go_on(
    database: Database, history: History
) -> None:
    build, parts = await begun(database, 2, target=600)
    crew = [asyncio.create_task(work(database, part, LogInMemory(history.events))) for part in parts]
    await asyncio.wait(crew, timeout=0.1)
    for worker in crew:
        worker.cancel()
    await asyncio.gather(*crew, return_exceptions=True)
    left = await database.read(partial(read_parts, projection="orders", build=build.build))
    await asyncio.gather(*(work(database, part, LogInMemory(history.events)) for part in left))
    await finished(database, build)
    assert await shown(database) == folded(history.events)
    assert await counted(database) == Counter(o.customer_id for o in folded(history.events).values())


async def test_a_worker_of_a_dropped_build_ends(database: Database, history: History) -> None:
    build, parts = await begun(database, 1, target=600)
    await database.write(partial(builds.drop, projection="orders", build=build.build))
    with pytest.raises(TakenOver):
        await work(database, parts[0], LogInMemory(history.events))


async def test_an_event_that_fails_parks_its_key_in_the_build_and_no_other(
    database: Database, history: History
) -> None:
    poisoned = history.created()
    history.paid(poisoned)
    fine = history.created()

    def fails(event: Event[Any], rows: Rows) -> None:
        if event.data.order_id == poisoned:
            raise ValueError("cannot be")
        handlers[facts.OrderPaid](event, rows)

    handlers = dict(orders_projection.handlers)
    projection = replace(orders_projection, handlers=handlers | {facts.OrderPaid: fails})
    build, parts = await begun(database, 2, target=len(history.events))
    log = LogInMemory(history.events)
    await asyncio.gather(*(work(database, part, log, projection) for part in parts))
    letters = await database.read(partial(dead_letters, scope=Scope("orders", build.build)))
    assert [(letter.stream_name, letter.error) for letter in letters] == [
        (f"order-{poisoned}", "ValueError: cannot be")
    ]
    await finished(database, build)
    orders = await shown(database)
    assert fine in orders
    assert orders[poisoned].version == 1
