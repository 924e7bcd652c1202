"""Old rows go, and nothing else changes, whatever the read store stands on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, select

from shop.orders.v1 import events_pb2 as facts
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.rules import order_rules
from shop_contexts.orders.sales_projection import order_sales_projection
from shop_contexts.orders.sales_tables import (
    DailyAmountRow,
    DailyOrdersRow,
    DailyProductRow,
    MonthlySalesRow,
    SalesMonthRow,
    UnshippedOrderRow,
)
from tests.order_histories import item, order_codec
from tests.order_lives import Lives
from tests.read_proofs import LOG, ListLog
from twofold_server.database import Database, open_database
from twofold_server.errors import StartupError
from twofold_server.projections import retention
from twofold_server.projections.checkpoints import TakenOver
from twofold_server.projections.fold import Fold
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.proof.differences import Difference
from twofold_server.projections.proof.proofs import Proofs, Wanted
from twofold_server.projections.retention import Sweeper, with_retention
from twofold_server.projections.schema import prepare

DAY = 86_400_000_000
LONG_AGO = 1_600_000_000_000_000
AGES = [
    *(MonthlySalesRow.month, SalesMonthRow.month),
    *(DailyOrdersRow.day, DailyAmountRow.day, DailyProductRow.day),
]
PROJECTIONS = with_retention([orders_projection, order_sales_projection], {"order_sales": 60})
SALES = PROJECTIONS[1]


class Side:
    """Read models of some years of orders."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.lives = Lives()
        self.history = self.lives.history
        self.folds = {p.name: self.fold_of(p.name) for p in PROJECTIONS}
        self.sweeper = self.sweeps(self.folds["order_sales"])

    def fold_of(self, name: str) -> Fold:
        """A new fold."""
        [projection] = [each for each in PROJECTIONS if each.name == name]
        return Fold(database=self.database, projection=projection, codec=order_codec())

    def sweeps(self, fold: Fold, *, ahead: timedelta = timedelta()) -> Sweeper:
        """What deletes a fold's old rows, by a clock that may be ahead."""
        assert SALES.retention is not None
        return Sweeper(fold, SALES.retention, clock=lambda: time.time() + ahead.total_seconds())

    async def fold(self) -> None:
        """Apply what has happened."""
        for fold in self.folds.values():
            if not fold.is_mine:
                await fold.take_over(LOG)
            await fold.apply(self.history.events)

    async def kept(self) -> dict[str, set[int]]:
        """The months, and the days, that each table still has."""

        def read(connection: Connection) -> dict[str, set[int]]:
            return {str(column): set(connection.execute(select(column)).scalars()) for column in AGES}

        return await self.database.read(read)

    async def differences(self) -> list[Difference]:
        """What a proof of the sums finds."""
        proofs = Proofs(
            database=self.database,
            projections=PROJECTIONS,
            rules=order_rules,
            codec=order_codec(),
            log=ListLog(self.history),
            fold_of=self.folds.__getitem__,
            notices=ProgressNotices(None),
        )
        found = [each async for each in proofs.verify(Wanted(projection="order_sales"))]
        return [each for each in found if isinstance(each, Difference)]


@pytest.fixture
async def side(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Side]:
    monkeypatch.setattr(retention, "BATCH", 7)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, PROJECTIONS))
        yield Side(database)


def first_kept(side: Side) -> int:
    """The first month of which the last event's moment, less 60 days, is part."""
    at = datetime.fromtimestamp(side.history.events[-1].recorded_at / 1e6, UTC) - timedelta(days=60)
    return at.year * 100 + at.month


async def test_rows_go_when_they_are_old_and_by_whole_months(side: Side) -> None:
    side.lives.grow(300, seed=1, hours=48, start=LONG_AGO)
    await side.fold()
    before = await side.kept()
    assert await side.sweeper.sweep() > 0
    after, first = await side.kept(), first_kept(side)
    for name, numbers in before.items():
        in_months = {n for n in numbers if (n if n < 1_000_000 else n // 100) >= first}
        assert after[name] == in_months
        assert in_months < numbers
    assert await side.sweeper.sweep() == 0


async def test_a_proof_misses_nothing_that_went(side: Side) -> None:
    side.lives.grow(200, seed=2, hours=48, start=LONG_AGO)
    await side.fold()
    assert await side.differences() == []
    await side.sweeper.sweep()
    assert await side.differences() == []


async def test_a_cancellation_of_what_went_changes_nothing_else(side: Side) -> None:
    old = side.history.created(items=[item("tea", 2, "3")], recorded_at=LONG_AGO)
    start = side.history.events[-1].recorded_at
    side.history.add(facts.OrderPaid(order_id=old), recorded_at=start)
    new = side.history.created(items=[item("tea", 1, "3")], recorded_at=start + 400 * DAY)
    side.history.add(facts.OrderPaid(order_id=new), recorded_at=start + 400 * DAY)
    await side.fold()
    await side.sweeper.sweep()
    side.history.add(facts.OrderCancelled(order_id=old), recorded_at=start + 401 * DAY)
    await side.fold()
    rows = await side.database.read(lambda c: c.execute(select(MonthlySalesRow.quantity)).scalars().all())
    assert list(rows) == [1]
    left = await side.database.read(lambda c: c.execute(select(UnshippedOrderRow.order_id)).scalars().all())
    assert list(left) == [new]
    assert await side.differences() == []


@pytest.mark.parametrize("ahead", [timedelta(days=-9_999), timedelta(days=9_999)])
async def test_age_is_told_by_the_log_and_never_by_a_clock_ahead_of_it(side: Side, ahead: timedelta) -> None:
    side.lives.grow(30, seed=3, hours=2, start=LONG_AGO)
    await side.fold()
    before = await side.kept()
    assert await side.sweeps(side.folds["order_sales"], ahead=ahead).sweep() == 0
    assert await side.kept() == before


async def test_events_are_applied_while_old_rows_go(side: Side) -> None:
    side.lives.grow(300, seed=4, hours=48, start=LONG_AGO)
    events = list(side.history.events)
    fold = side.folds["order_sales"]
    await fold.take_over(LOG)
    await fold.apply(events[:250])
    sweeping = asyncio.create_task(side.sweeper.sweep())
    for upto in range(251, 301):
        await fold.apply(events[:upto])
        await asyncio.sleep(0)
    await sweeping
    await side.fold()
    await side.sweeper.sweep()
    assert await side.differences() == []


async def test_a_projector_that_was_replaced_deletes_nothing(side: Side) -> None:
    side.lives.grow(100, seed=5, hours=96, start=LONG_AGO)
    await side.fold()
    before = await side.kept()
    await side.fold_of("order_sales").take_over(LOG)
    with pytest.raises(TakenOver):
        await side.sweeper.sweep()
    assert await side.kept() == before


def test_a_setting_changes_how_long_rows_are_kept_or_keeps_them_for_ever() -> None:
    [changed] = with_retention([order_sales_projection], {"order_sales": 30})
    assert changed.retention is not None
    assert changed.retention.keep == timedelta(days=30)
    [for_ever] = with_retention([order_sales_projection], {"order_sales": 0})
    assert for_ever.retention is None
    assert with_retention([order_sales_projection], {}) == [order_sales_projection]
    assert replace(changed, retention=None) == for_ever


@pytest.mark.parametrize("name", ["orders", "nobody"])
def test_a_setting_for_what_keeps_everything_stops_the_start(name: str) -> None:
    with pytest.raises(StartupError, match=f"names the projection {name}; those .* are: order_sales"):
        with_retention([orders_projection, order_sales_projection], {name: 3})
