"""Builds of a projection beside the one that queries read: begun, filled, switched to, kept, dropped."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Index, Integer, String, inspect, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from shop.orders.v1 import events_pb2 as facts
from tests.order_histories import History, order_codec
from twofold_server.database import Database, open_database
from twofold_server.errors import NotFound, Rejected
from twofold_server.modelling import Event, Projection, Rows
from twofold_server.projections import builds
from twofold_server.projections.builds import NotLevel
from twofold_server.projections.checkpoints import (
    Checkpoint,
    TakenOver,
    read_builds,
    read_checkpoint,
    take_over,
)
from twofold_server.projections.fold import Fold
from twofold_server.projections.parts import NotComplete, advance_part, join, read_parts, split, take_part
from twofold_server.projections.schema import is_prepared, prepare
from twofold_server.projections.status import BuildState
from twofold_server.projections.switching import switch_patiently

LOG = str(uuid.uuid4())
LIVE, BUILDING, KEPT = BuildState.LIVE, BuildState.BUILDING, BuildState.KEPT


class Base(MappedAsDataclass, DeclarativeBase):
    pass


class Customer(Base, kw_only=True):
    __tablename__ = "customers"
    __table_args__ = (Index("customers_by_orders", "order_count"),)

    customer_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    orders: Mapped[int] = mapped_column("order_count", Integer)


class Order(Base, kw_only=True):
    __tablename__ = "customer_orders"

    order_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    customer_id: Mapped[str] = mapped_column(String(64))


def created(event: Event[facts.OrderCreated], rows: Rows) -> None:
    rows.add(Order(order_id=event.data.order_id, customer_id=event.data.customer_id))
    customer = rows.get(Customer, event.data.customer_id)
    if customer is None:
        rows.add(Customer(customer_id=event.data.customer_id, orders=1))
    else:
        customer.orders += 1


def make_marks(connection: Connection, name_of: Callable[[str], str]) -> None:
    connection.execute(text(f"CREATE TABLE {name_of('marks')} (mark INTEGER)"))
    connection.execute(text(f"CREATE INDEX {name_of('marks_by_mark')} ON {name_of('marks')} (mark)"))


CUSTOMERS = Projection(
    name="customers",
    tables=[Order, Customer],
    handlers={facts.OrderCreated: created},
    prefetch={Customer: lambda event: str(event.data.customer_id)},
    prepare=make_marks,
    side_tables=["marks"],
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, [CUSTOMERS]))
        yield database


@pytest.fixture
def history() -> History:
    history = History()
    for _ in range(12):
        history.created()
    return history


async def fold_of(database: Database, build: int | None = None) -> Fold:
    fold = Fold(database=database, projection=CUSTOMERS, codec=order_codec(), build=build)
    await fold.take_over(LOG)
    return fold


async def begun(database: Database) -> int:
    return (await database.write(lambda c: builds.begin(c, CUSTOMERS, LOG))).build


async def switched(database: Database, build: int, **how: Any) -> Checkpoint:
    return await database.write(partial(builds.switch, projection="customers", build=build, **how))


async def known(database: Database) -> dict[int, tuple[BuildState, int]]:
    found = await database.read(lambda c: read_builds(c, "customers"))
    return {each.build: (each.state, each.position) for each in found}


def rows(connection: Connection) -> tuple[int, int, int]:
    """What a query sees: the position, the orders, and the orders as customers count them."""
    checkpoint = read_checkpoint(connection, "customers")
    assert checkpoint is not None
    orders = connection.execute(select(Order.order_id)).all()
    counts = connection.execute(select(Customer.orders)).scalars().all()
    return checkpoint.position, len(orders), sum(counts)


async def seen(database: Database) -> tuple[int, int, int]:
    return await database.read(rows)


async def names(database: Database) -> set[str]:
    found = await database.read(lambda c: inspect(c).get_table_names())
    return {name for name in found if not name.startswith(("projection_", "read_store"))}


async def two_builds(database: Database, history: History, *, first: int = 12, second: int = 12) -> int:
    """A live build with so many orders, and one beside with so many; its number."""
    await (await fold_of(database)).apply(history.events[:first])
    build = await begun(database)
    await (await fold_of(database, build)).apply(history.events[:second])
    return build


# --- beside -----------------------------------------------------------------------------------------


async def test_a_build_beside_has_tables_of_its_own_and_queries_see_nothing_of_it(
    database: Database, history: History
) -> None:
    await two_builds(database, history, first=5, second=12)
    assert await seen(database) == (5, 5, 5)
    assert await known(database) == {1: (LIVE, 5), 2: (BUILDING, 12)}
    plain = {"customers", "customer_orders", "marks"}
    assert await names(database) == plain | {f"{name}__2" for name in plain}


async def test_a_build_beside_goes_on_where_it_stopped(database: Database, history: History) -> None:
    build = await two_builds(database, history, second=7)
    again = await fold_of(database, build)
    assert again.position == 7
    for event in history.events[7:]:
        await again.apply([event])
    await switched(database, build)
    assert await seen(database) == (12, 12, 12)


async def test_only_one_build_is_built_at_a_time(database: Database, history: History) -> None:
    await two_builds(database, history)
    with pytest.raises(Rejected, match="build 2 of customers is being built already"):
        await begun(database)


# --- the switch -------------------------------------------------------------------------------------


async def test_a_switch_lets_queries_read_the_new_build_and_keeps_the_old_one(
    database: Database, history: History
) -> None:
    build = await two_builds(database, history, first=5)
    await switched(database, build)
    assert await seen(database) == (12, 12, 12)
    assert await known(database) == {1: (KEPT, 5), 2: (LIVE, 12)}
    plain = {"customers", "customer_orders", "marks"}
    assert await names(database) == plain | {f"{name}__1" for name in plain}


async def test_a_build_that_is_behind_is_not_switched_to(database: Database, history: History) -> None:
    build = await two_builds(database, history, second=11)
    with pytest.raises(NotLevel):
        await switched(database, build)
    assert await known(database) == {1: (LIVE, 12), 2: (BUILDING, 11)}
    await switched(database, build, behind=True)
    assert await seen(database) == (11, 11, 11)


async def test_a_switch_that_is_interrupted_leaves_the_old_build_live(
    database: Database, history: History
) -> None:
    build = await two_builds(database, history, first=5)

    def interrupted(connection: Connection) -> None:
        builds.switch(connection, "customers", build)
        raise KeyError("killed")

    with pytest.raises(KeyError, match="killed"):
        await database.write(interrupted)
    assert await known(database) == {1: (LIVE, 5), 2: (BUILDING, 12)}
    assert await seen(database) == (5, 5, 5)
    await switched(database, build)
    assert await seen(database) == (12, 12, 12)


async def test_whoever_still_writes_the_old_or_the_new_build_is_fenced_out(
    database: Database, history: History
) -> None:
    old = await fold_of(database)
    await old.apply(history.events[:5])
    new = await fold_of(database, await begun(database))
    await new.apply(history.events[:5])
    await switched(database, 2)
    for fold in (old, new):
        with pytest.raises(TakenOver):
            await fold.apply(history.events[5:])
        with pytest.raises(TakenOver):
            await fold.refresh()
    live = await fold_of(database)
    await live.apply(history.events[5:])
    assert await seen(database) == (12, 12, 12)


async def test_the_epoch_of_a_live_build_is_one_that_no_live_build_had_before(
    database: Database, history: History
) -> None:
    epochs: list[int] = []
    await two_builds(database, history)
    for build in (2, 1, 2, 1):
        epochs += [(await fold_of(database)).checkpoint.epoch for _ in range(build)]
        await switched(database, build)
    assert len(set(epochs)) == len(epochs)


async def test_a_query_sees_all_of_the_old_build_or_all_of_the_new_one(
    database: Database, history: History, database_url: str
) -> None:
    """The builds differ in position, so that a mixture would show."""
    await two_builds(database, history, first=4, second=12)
    halfway = threading.Event()

    def slowly(connection: Connection) -> tuple[int, int, int]:
        read_checkpoint(connection, "customers")
        halfway.set()
        if connection.dialect.name == "sqlite":
            time.sleep(0.5)
        else:
            connection.execute(text("SELECT pg_sleep(0.5)"))
        return rows(connection)

    async with open_database(database_url, read_only=True) as reader:
        seen_meanwhile: set[tuple[int, int, int]] = set()
        over = asyncio.Event()

        async def query() -> None:
            while not over.is_set():
                seen_meanwhile.add(await reader.read(rows))
                await asyncio.sleep(0)

        queries = [asyncio.create_task(query()) for _ in range(3)]
        slow = asyncio.create_task(reader.read(slowly))
        await asyncio.to_thread(halfway.wait, 10)
        for build in (2, 1) * 10:
            await switch_patiently(database, "customers", build, behind=True)
        assert await slow == (4, 4, 4)
        over.set()
        await asyncio.gather(*queries)
    assert seen_meanwhile == {(4, 4, 4), (12, 12, 12)}


# --- the way back and the end -----------------------------------------------------------------------------


async def test_the_way_back_is_a_switch_to_the_build_that_was_live_before(
    database: Database, history: History
) -> None:
    await two_builds(database, history)
    await switched(database, 2)
    last = builds.last_live_of(await database.read(lambda c: read_builds(c, "customers")))
    assert last is not None
    await switched(database, last.build)
    assert await known(database) == {1: (LIVE, 12), 2: (KEPT, 12)}
    assert await seen(database) == (12, 12, 12)


async def test_a_kept_build_can_be_brought_level(database: Database, history: History) -> None:
    await two_builds(database, history, first=5)
    await switched(database, 2)
    await database.write(lambda c: builds.resume(c, "customers", 1))
    await (await fold_of(database, 1)).apply(history.events[5:])
    await switched(database, 1)
    assert await seen(database) == (12, 12, 12)


async def test_a_dropped_build_is_gone_and_its_number_is_free(database: Database, history: History) -> None:
    await two_builds(database, history)
    await database.write(lambda c: builds.drop(c, "customers", 2))
    assert await known(database) == {1: (LIVE, 12)}
    assert await names(database) == {"customers", "customer_orders", "marks"}
    assert await begun(database) == 2


async def test_many_rebuilds_in_a_row_do_not_get_into_each_others_way(
    database: Database, history: History
) -> None:
    await (await fold_of(database)).apply(history.events)
    for before in range(1, 5):
        build = await begun(database)
        assert build == before + 1
        await (await fold_of(database, build)).apply(history.events)
        await switched(database, build)
        await database.write(partial(builds.drop, projection="customers", build=before))
    assert await seen(database) == (12, 12, 12)
    assert await known(database) == {5: (LIVE, 12)}


async def test_the_live_build_cannot_be_dropped(database: Database, history: History) -> None:
    await two_builds(database, history)
    with pytest.raises(Rejected, match="queries read build 1"):
        await database.write(lambda c: builds.drop(c, "customers", 1))
    with pytest.raises(NotFound, match="has no build 7"):
        await database.write(lambda c: builds.drop(c, "customers", 7))


async def test_who_writes_a_build_that_was_dropped_is_told(database: Database, history: History) -> None:
    build = await two_builds(database, history, second=3)
    writer = await fold_of(database, build)
    await database.write(partial(builds.drop, projection="customers", build=build))
    with pytest.raises(TakenOver):
        await writer.apply(history.events[3:])


# --- parts ----------------------------------------------------------------------------------------------


async def test_a_build_with_parts_is_complete_when_all_are_at_their_target(
    database: Database, history: History
) -> None:
    build = await database.write(lambda c: builds.begin(c, CUSTOMERS, LOG))
    await (await fold_of(database)).apply([])
    made = await database.write(lambda c: split(c, build, workers=3, target=12))
    assert sorted(n for part in made for n in part.partitions) == list(range(16))
    with pytest.raises(Rejected, match="not complete"):
        await switched(database, build.build)
    mine = await database.write(partial(take_over, projection=CUSTOMERS, log_id=LOG, build=2))
    for part in made:
        with pytest.raises(NotComplete):
            await database.write(lambda c: join(c, mine))
        taken = await database.write(partial(take_part, part=part))
        done = replace(taken, position=12, recorded_at=7)
        await database.write(partial(advance_part, current=taken, following=done))
    joined = await database.write(lambda c: join(c, mine))
    assert (joined.position, joined.recorded_at) == (12, 7)
    assert await known(database) == {1: (LIVE, 0), 2: (BUILDING, 12)}
    assert await database.read(lambda c: read_parts(c, "customers", 2)) == []


async def test_a_worker_whose_part_was_taken_by_another_one_writes_nothing(database: Database) -> None:
    build = await database.write(lambda c: builds.begin(c, CUSTOMERS, LOG))
    part = (await database.write(lambda c: split(c, build, workers=1, target=12)))[0]
    older = await database.write(partial(take_part, part=part))
    newer = await database.write(partial(take_part, part=part))
    moved = replace(newer, position=5)
    with pytest.raises(TakenOver):
        await database.write(partial(advance_part, current=older, following=moved))
    await database.write(partial(advance_part, current=newer, following=moved))
    assert (await database.read(lambda c: read_parts(c, "customers", 2)))[0] == moved


# --- the schema ---------------------------------------------------------------------------------------------


async def test_a_read_store_of_schema_1_is_brought_up_to_date_with_its_rows(
    database: Database, history: History
) -> None:
    await (await fold_of(database)).apply(history.events)

    def as_it_was(connection: Connection) -> None:
        connection.execute(
            text(
                "CREATE TABLE projection_checkpoints (projection VARCHAR(100), log_id VARCHAR(36), "
                "version INTEGER, epoch BIGINT, position BIGINT, recorded_at BIGINT, head BIGINT)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO projection_checkpoints SELECT projection, log_id, version, epoch, position, "
                "recorded_at, head FROM projection_builds"
            )
        )
        connection.execute(text("DROP TABLE projection_builds"))
        connection.execute(text("DROP TABLE projection_build_parts"))
        connection.execute(text("UPDATE read_store SET schema_version = 1"))

    await database.write(as_it_was)
    assert not await database.read(is_prepared)
    await database.write(lambda c: prepare(c, [CUSTOMERS]))
    assert await database.read(is_prepared)
    assert await seen(database) == (12, 12, 12)
    build = await begun(database)
    await (await fold_of(database, build)).apply(history.events)
    await switched(database, build)
    assert await seen(database) == (12, 12, 12)
