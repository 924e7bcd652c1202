"""What a projection's fold and checkpoint do, whatever the read store stands on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Integer, String, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.tables import OrderRow
from tests.order_histories import History, folded, order_codec
from twofold_server.database import Database, open_database
from twofold_server.errors import StartupError
from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import Projection
from twofold_server.projections.checkpoints import Checkpoint, TakenOver, read_checkpoint
from twofold_server.projections.fold import Fold, Hole
from twofold_server.projections.rows import MOST_TOUCHED, SessionRows, Touched
from twofold_server.projections.schema import SCHEMA, is_prepared, prepare, read_store

T = TypeVar("T")
LOG = str(uuid.uuid4())


class Base(MappedAsDataclass, DeclarativeBase):
    pass


class Sale(Base, kw_only=True):
    __tablename__ = "sales"

    product: Mapped[str] = mapped_column(String(20), primary_key=True)
    month: Mapped[int] = mapped_column(Integer, primary_key=True)
    sold: Mapped[int] = mapped_column(Integer)
    note: Mapped[str | None] = mapped_column(String(20), default=None)


class Day(Base, kw_only=True):
    __tablename__ = "days"

    number: Mapped[int] = mapped_column("day_number", Integer, primary_key=True)
    orders: Mapped[int] = mapped_column("order_count", Integer)


SALES = Projection(name="sales", tables=[Sale, Day], handlers={}, prefetch={})


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, [orders_projection, SALES]))
        yield database


@pytest.fixture
def history() -> History:
    return History()


async def fold_of(database: Database, projection: Projection = orders_projection) -> Fold:
    fold = Fold(database=database, projection=projection, codec=order_codec())
    await fold.take_over(LOG)
    return fold


async def shown(database: Database) -> dict[str, Order]:
    rows = await database.read(lambda c: c.execute(select(OrderRow.order_id, OrderRow.view)).all())
    return {order_id: Order.FromString(view) for order_id, view in rows}


async def stored(database: Database) -> Checkpoint:
    found = await database.read(lambda c: read_checkpoint(c, "orders"))
    assert found is not None
    return found


async def changed(database: Database, work: Callable[[SessionRows], object]) -> None:
    """Do something to rows and write them back."""

    def transact(connection: Connection) -> None:
        rows = SessionRows(connection)
        work(rows)
        rows.flush()

    await database.write(transact)


async def sales(database: Database) -> list[tuple[Any, ...]]:
    query = select(Sale.product, Sale.month, Sale.sold, Sale.note).order_by(Sale.product, Sale.month)
    return [tuple(row) for row in await database.read(lambda c: c.execute(query).all())]


# --- the fold -------------------------------------------------------------------------------------


async def test_rows_are_the_fold_of_the_events(database: Database, history: History) -> None:
    history.grow(400, seed=1)
    fold = await fold_of(database)
    for start in range(0, 400, 37):
        await fold.apply(history.events[start : start + 37])
    assert await shown(database) == folded(history.events)


async def test_the_checkpoint_tells_of_the_last_event(database: Database, history: History) -> None:
    history.grow(10, seed=2)
    fold = await fold_of(database)
    await fold.apply(history.events, head=25)
    found = await stored(database)
    assert (found.log_id, found.position, found.head) == (LOG, 10, 25)
    assert found.recorded_at == history.events[-1].recorded_at
    assert found == fold.checkpoint


async def test_events_that_were_applied_before_are_dropped(database: Database, history: History) -> None:
    history.grow(20, seed=3)
    fold = await fold_of(database)
    await fold.apply(history.events[:15])
    await fold.apply(history.events[:10])
    await fold.apply(history.events[5:])
    await fold.apply([])
    assert fold.position == 20
    assert await shown(database) == folded(history.events)


@pytest.mark.parametrize("missing", [0, 4])
async def test_a_hole_is_refused_and_nothing_is_applied(
    database: Database, history: History, missing: int
) -> None:
    history.grow(10, seed=4)
    fold = await fold_of(database)
    with pytest.raises(Hole):
        await fold.apply(history.events[:missing] + history.events[missing + 1 :])
    assert (await stored(database)).position == 0
    assert await shown(database) == {}


async def test_a_handler_that_fails_leaves_nothing_behind(database: Database, history: History) -> None:
    history.created()
    history.paid("nobody")
    fold = await fold_of(database)
    with pytest.raises(LookupError):
        await fold.apply(history.events)
    assert (await stored(database)).position == fold.position == 0
    assert await shown(database) == {}


async def test_events_of_other_types_are_passed_over_undecoded(database: Database, history: History) -> None:
    history.created()
    strange = RecordedEvent(
        2, "x-1", 1, str(uuid.uuid4()), "other.v1.Thing", 1, b"\xff", history.events[0].metadata, 5
    )
    fold = await fold_of(database)
    await fold.apply([history.events[0], strange])
    assert fold.position == 2


async def test_a_fold_goes_on_where_it_stopped(database: Database, history: History) -> None:
    history.grow(30, seed=5)
    await (await fold_of(database)).apply(history.events[:17])
    again = await fold_of(database)
    assert again.position == 17
    await again.apply(history.events[17:])
    assert await shown(database) == folded(history.events)


async def test_a_handler_for_an_event_that_no_context_declares_is_told_at_the_start(
    database: Database,
) -> None:
    wrong = replace(orders_projection, handlers={Order: lambda event, rows: None})
    with pytest.raises(StartupError, match=r"projection orders handles shop\.orders\.v1\.Order"):
        Fold(database=database, projection=wrong, codec=order_codec())


# --- who may write ----------------------------------------------------------------------------------


async def test_the_newer_projector_wins(database: Database, history: History) -> None:
    history.grow(10, seed=6)
    older = await fold_of(database)
    await older.apply(history.events[:3])
    newer = await fold_of(database)
    with pytest.raises(TakenOver, match="another projector has taken over projection orders"):
        await older.apply(history.events[3:6])
    await newer.apply(history.events[3:])
    assert await shown(database) == folded(history.events)


async def test_who_lost_notices_it_without_writing(database: Database) -> None:
    older = await fold_of(database)
    await older.refresh()
    await fold_of(database)
    with pytest.raises(TakenOver):
        await older.refresh()


async def test_a_refresh_finds_what_a_lost_transaction_had_committed(
    database: Database, history: History
) -> None:
    history.grow(10, seed=7)
    fold = await fold_of(database)
    before = fold.checkpoint
    await fold.apply(history.events)
    fold._checkpoint = before  # as if the connection had broken during the commit
    await fold.refresh()
    assert fold.position == 10


async def test_another_log_is_refused(database: Database) -> None:
    await fold_of(database)
    fold = Fold(database=database, projection=orders_projection, codec=order_codec())
    with pytest.raises(StartupError, match="was filled from event log"):
        await fold.take_over(str(uuid.uuid4()))


async def test_another_version_of_the_projection_is_refused(database: Database) -> None:
    await fold_of(database)
    with pytest.raises(StartupError, match="was built by its version 1, this is version 2"):
        await fold_of(database, replace(orders_projection, version=2))


# --- the schema -------------------------------------------------------------------------------------


async def test_a_store_is_prepared_once(database: Database) -> None:
    await database.write(lambda c: prepare(c, [orders_projection]))
    assert await database.read(is_prepared)


async def test_an_empty_database_is_not_prepared(database_url: str) -> None:
    async with open_database(database_url) as database:
        assert not await database.read(is_prepared)


async def test_a_newer_schema_is_refused(database: Database) -> None:
    await database.write(lambda c: c.execute(update(read_store).values(schema_version=SCHEMA + 1)))
    with pytest.raises(StartupError, match="start a newer Twofold"):
        await database.write(lambda c: prepare(c, [orders_projection]))


# --- what a batch wrote -------------------------------------------------------------------------------


async def test_a_batch_tells_which_rows_it_wrote(database: Database, history: History) -> None:
    first, second = history.created(customer_id="ada"), history.created(customer_id="bob")
    fold = await fold_of(database)
    assert fold.written is None
    await fold.apply(history.events)
    assert _told(fold) == (0, 2, {"orders": {first, second}, "order_customers": {"ada", "bob"}})
    history.paid(first)
    await fold.apply(history.events)
    assert _told(fold) == (2, 3, {"orders": {first}, "order_customers": {"ada"}})


async def test_a_batch_of_events_that_do_not_matter_wrote_nothing(
    database: Database, history: History
) -> None:
    history.created()
    strange = RecordedEvent(
        2, "x-1", 1, str(uuid.uuid4()), "other.v1.Thing", 1, b"", history.events[0].metadata, 5
    )
    fold = await fold_of(database)
    await fold.apply(history.events)
    await fold.apply([strange])
    assert _told(fold) == (1, 2, {})


async def test_any_number_of_rows_is_read_and_deleted_together(database: Database) -> None:
    keys = [(f"p{n}", month) for n in range(3_000) for month in range(6)]

    def add(rows: SessionRows) -> None:
        for product, month in keys:
            rows.add(Sale(product=product, month=month, sold=1))

    def delete(rows: SessionRows) -> None:
        rows.prefetch(Sale, keys)
        for key in keys[1:]:
            row = rows.get(Sale, key)
            assert row is not None
            rows.delete(row)

    await changed(database, add)
    await changed(database, delete)
    left = await database.read(lambda c: c.execute(select(Sale.product, Sale.month)).all())
    assert [tuple(row) for row in left] == keys[:1]


async def test_rows_that_were_added_changed_deleted_and_touched_are_told(database: Database) -> None:
    await changed(database, _add_days)

    def work(rows: SessionRows) -> Touched:
        for number in range(4):
            row = rows.get(Day, number)
            assert row is not None
            if number == 1:
                row.orders = 7
            if number == 2:
                rows.delete(row)
        rows.add(Sale(product="tea", month=1, sold=1))
        rows.touch(Day, 3)
        return rows.flush()

    touched = await database.write(lambda c: work(SessionRows(c)))
    assert touched is not None
    assert {name: set(keys) for name, keys in touched.items()} == {"days": {1, 2, 3}, "sales": {("tea", 1)}}


async def test_too_many_rows_are_told_as_all(database: Database) -> None:
    def add(count: int, first: int) -> Callable[[Connection], Touched]:
        def work(connection: Connection) -> Touched:
            rows = SessionRows(connection)
            for number in range(first, first + count):
                rows.add(Day(number=number, orders=0))
            return rows.flush()

        return work

    told = await database.write(add(MOST_TOUCHED, first=0))
    assert told is not None
    assert len(told["days"]) == MOST_TOUCHED
    assert await database.write(add(MOST_TOUCHED + 1, first=MOST_TOUCHED)) is None


def _add_days(rows: SessionRows) -> None:
    for number in range(5):
        rows.add(Day(number=number, orders=0))


def _told(fold: Fold) -> tuple[int, int, dict[str, set[Any]]]:
    assert fold.written is not None
    after, upto, touched = fold.written
    assert touched is not None
    return after, upto, {name: set(keys) for name, keys in touched.items()}


# --- the rows of a batch ------------------------------------------------------------------------------


async def test_a_row_that_was_added_is_found_in_the_same_batch(database: Database) -> None:
    def work(rows: SessionRows) -> None:
        rows.add(Sale(product="tea", month=1, sold=1))
        row = rows.get(Sale, ("tea", 1))
        assert row is not None
        row.sold = 2

    await changed(database, work)
    assert await sales(database) == [("tea", 1, 2, None)]


async def test_a_row_that_was_deleted_is_gone_in_the_same_batch(database: Database) -> None:
    await changed(database, lambda rows: rows.add(Sale(product="tea", month=1, sold=1)))

    def work(rows: SessionRows) -> None:
        row = rows.get(Sale, ("tea", 1))
        assert row is not None
        rows.delete(row)
        assert rows.get(Sale, ("tea", 1)) is None

    await changed(database, work)
    assert await sales(database) == []


async def test_a_row_that_was_deleted_and_added_again_keeps_nothing_of_the_old_one(
    database: Database,
) -> None:
    await changed(database, lambda rows: rows.add(Sale(product="tea", month=1, sold=1, note="old")))

    def work(rows: SessionRows) -> None:
        rows.prefetch(Sale, [("tea", 1), ("tea", 2)])
        old = rows.get(Sale, ("tea", 1))
        assert old is not None
        old.sold = 5
        rows.delete(old)
        rows.add(Sale(product="tea", month=1, sold=7))

    await changed(database, work)
    assert await sales(database) == [("tea", 1, 7, None)]


async def test_a_row_that_was_added_and_deleted_was_never_there(database: Database) -> None:
    def work(rows: SessionRows) -> None:
        rows.add(Sale(product="tea", month=1, sold=1))
        row = rows.get(Sale, ("tea", 1))
        assert row is not None
        rows.delete(row)

    await changed(database, work)
    assert await sales(database) == []


async def test_rows_that_changed_in_different_columns_are_all_written(database: Database) -> None:
    def begin(rows: SessionRows) -> None:
        for month in range(1, 5):
            rows.add(Sale(product="tea", month=month, sold=0, note="new"))

    def work(rows: SessionRows) -> None:
        found = [rows.get(Sale, ("tea", month)) for month in range(1, 5)]
        assert all(row is not None for row in found)
        found[0].sold = 1  # type: ignore[union-attr]
        found[1].note = None  # type: ignore[union-attr]
        found[2].note, found[2].sold = "x", 3  # type: ignore[union-attr]

    await changed(database, begin)
    await changed(database, work)
    assert await sales(database) == [
        ("tea", 1, 1, "new"),
        ("tea", 2, 0, None),
        ("tea", 3, 3, "x"),
        ("tea", 4, 0, "new"),
    ]


async def test_keys_of_any_type_and_columns_of_any_name_will_do(database: Database) -> None:
    def begin(rows: SessionRows) -> None:
        for number in range(3):
            rows.add(Day(number=number, orders=number * 10))

    def work(rows: SessionRows) -> None:
        rows.prefetch(Day, [0, 1, 7])
        day = rows.get(Day, 1)
        assert day is not None
        day.orders += 1
        assert rows.get(Day, 7) is None
        gone = rows.get(Day, 2)  # was not prefetched
        assert gone is not None
        rows.delete(gone)

    await changed(database, begin)
    await changed(database, work)
    found = await database.read(lambda c: c.execute(select(Day.number, Day.orders)).all())
    assert sorted(found) == [(0, 0), (1, 11)]


async def test_a_fold_writes_orders_of_one_batch_and_of_earlier_ones(
    database: Database, history: History
) -> None:
    fold = await fold_of(database)
    first = history.created()
    await fold.apply(history.events)
    second = history.created()
    history.paid(first)
    history.paid(second)
    history.add(facts.OrderCancelled(order_id=second, reason="no"))
    await fold.apply(history.events)
    assert await shown(database) == folded(history.events)


# --- rewriting rows beside the fold ---------------------------------------------------------------------


async def test_rows_are_rewritten_under_the_fence_and_the_position_stays(
    database: Database, history: History
) -> None:
    history.grow(10, seed=8)
    fold = await fold_of(database)
    await fold.apply(history.events)
    async with fold.still() as checkpoint:
        await fold.rewrite(lambda c: c.execute(update(OrderRow).values(status=9)))
    # A new epoch: nobody takes an answer from before for one of now.
    assert replace(checkpoint, epoch=checkpoint.epoch + 1) == await stored(database) == fold.checkpoint
    assert set(await database.read(lambda c: c.execute(select(OrderRow.status)).scalars().all())) == {9}


async def test_who_was_replaced_rewrites_nothing(database: Database, history: History) -> None:
    history.created()
    older = await fold_of(database)
    await older.apply(history.events)
    await fold_of(database)
    async with older.still():
        with pytest.raises(TakenOver):
            await older.rewrite(lambda c: c.execute(update(OrderRow).values(status=9)))
    assert await shown(database) == folded(history.events)
    assert 9 not in await database.read(lambda c: c.execute(select(OrderRow.status)).scalars().all())


async def test_nothing_is_applied_while_a_fold_is_kept_still(database: Database, history: History) -> None:
    history.created()
    fold = await fold_of(database)
    async with fold.still():
        applying = asyncio.create_task(fold.apply(history.events))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(applying), 0.05)
        assert (await stored(database)).position == 0
    await applying
    assert fold.position == 1
