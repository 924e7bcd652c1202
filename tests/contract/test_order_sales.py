"""Sums by month and day, whatever the read store stands on: exactly what a plain count gives."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import date
from functools import partial
from typing import Any

import pytest
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.query_service_pb2 import (
    DailyStatistics,
    GetDailyStatisticsRequest,
    GetMonthlySalesRequest,
    GetMonthlySalesResponse,
)
from shop_contexts.orders.sales_projection import order_sales_projection
from shop_contexts.orders.sales_queries import get_daily_statistics, get_monthly_sales
from shop_contexts.orders.sales_tables import UnshippedOrderRow
from tests.order_histories import euros, item, order_codec
from tests.order_lives import Lives
from twofold_server.database import Database, open_database
from twofold_server.errors import InvalidRequest
from twofold_server.projections.fold import Fold
from twofold_server.projections.schema import prepare


class Side:
    """A read model of sales, and what is asked of it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.lives = Lives()
        self.history = self.lives.history
        self._fold = Fold(database=database, projection=order_sales_projection, codec=order_codec())

    async def fold(self, size: Callable[[], int] = lambda: 500) -> None:
        """Apply what has happened, in batches."""
        if not self._fold.is_mine:
            await self._fold.take_over(str(uuid.uuid4()))
        while self._fold.position < self.history.head:
            done = self._fold.position
            await self._fold.apply(self.history.events[max(0, done - 3) : done + size()])

    async def page(self, **fields: Any) -> GetMonthlySalesResponse:
        """GetMonthlySales."""
        return await self.database.read(partial(get_monthly_sales, GetMonthlySalesRequest(**fields)))

    async def monthly(self, **fields: Any) -> dict[tuple[str, str, str], tuple[int, int]]:
        """All pages of it, in the order of the answer."""
        found, token = {}, ""
        while True:
            page = await self.page(page_token=token, **fields)
            for row in page.sales:
                key = f"{row.month.year}-{row.month.month:02}", row.product_id, row.sales.currency_code
                assert key not in found
                found[key] = row.quantity, _nanos(row.sales)
            token = page.next_page_token
            if not token:
                assert page.total_size == len(found)
                return found

    async def days(self, first: str, last: str, top: int = 0) -> list[DailyStatistics]:
        """GetDailyStatistics."""
        request = GetDailyStatisticsRequest(from_day=_date(first), to_day=_date(last), top_products=top)
        return list((await self.database.read(partial(get_daily_statistics, request))).days)


@pytest.fixture
async def side(database_url: str) -> AsyncIterator[Side]:
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, [order_sales_projection]))
        yield Side(database)


def _nanos(money: Money) -> int:
    return money.units * 10**9 + money.nanos


def _date(day: str) -> Date:
    year, month, number = map(int, day.split("-"))
    return Date(year=year, month=month, day=number)


def _iso(day: Date) -> str:
    return date(day.year, day.month, day.day).isoformat()


@pytest.mark.parametrize("seed", range(3))
async def test_sums_are_those_of_a_plain_count(side: Side, seed: int) -> None:
    dice = random.Random(seed)
    side.lives.grow(600, seed=seed)
    await side.fold(lambda: dice.choice([1, 2, 7, 100]))
    assert await side.monthly(page_size=7) == side.lives.monthly()
    daily, amounts = side.lives.daily(), side.lives.amounts()
    shown = [
        day for year in range(2026, 2029) for day in await side.days(f"{year}-01-01", f"{year}-12-31", top=3)
    ]
    assert [_iso(day.day) for day in shown] == sorted(daily)
    for day in shown:
        when = _iso(day.day)
        assert (day.orders, day.cancelled_orders, day.paid_orders) == daily[when]
        expected = {currency: nanos for (on, currency), nanos in amounts.items() if on == when}
        assert {money.currency_code: _nanos(money) for money in day.sales} == expected
        assert [(p.product_id, p.quantity) for p in day.top_products] == side.lives.top(when, 3)


async def test_only_orders_that_may_still_change_are_kept(side: Side) -> None:
    side.lives.grow(300, seed=7)
    await side.fold()
    kept = await side.database.read(lambda c: set(c.execute(UnshippedOrderRow.__table__.select()).all()))
    alive = {key for key, life in side.lives.lives.items() if not (life.shipped or life.cancelled)}
    assert {row.order_id for row in kept} == alive


async def test_a_cancelled_payment_leaves_nothing_behind(side: Side) -> None:
    order_id = side.history.created(items=[item("tea", 2, "3.50")])
    side.history.paid(order_id)
    await side.fold()
    assert await side.monthly() == {("2026-09", "tea", "EUR"): (2, 7_000_000_000)}
    side.history.add(facts.OrderCancelled(order_id=order_id))
    await side.fold()
    assert await side.monthly() == {}
    [day] = await side.days("2026-09-01", "2026-09-30")
    assert (day.orders, day.cancelled_orders, day.paid_orders) == (0, 1, 0)
    assert not day.sales
    assert not day.top_products


async def test_the_average_price_is_rounded_to_a_billionth(side: Side) -> None:
    for quantity, price in ((2, "1"), (1, "0")):
        side.history.paid(side.history.created(items=[item("tea", quantity, price)]))
    await side.fold()
    [row] = (await side.page()).sales
    assert row.average_price == euros("0.666666667")


async def test_sums_beyond_64_bits_stay_exact(side: Side) -> None:
    for _ in range(12):
        items = [item(f"p{n}", 1_000_000, "999999999.999999999") for n in range(2)]
        side.history.paid(side.history.created(items=items))
    await side.fold()
    rows = (await side.page()).sales
    assert [_nanos(row.sales) for row in rows] == [12_000_000 * 999_999_999_999_999_999] * 2
    assert rows[0].average_price == euros("999999999.999999999")


@pytest.mark.parametrize(
    ("asked", "months"),
    [
        ({}, {"2026-09", "2026-10", "2026-11"}),
        ({"year": 2026}, {"2026-09", "2026-10", "2026-11"}),
        ({"year": 2027}, set()),
        ({"from_month": Date(year=2026, month=10)}, {"2026-10", "2026-11"}),
        ({"to_month": Date(year=2026, month=10)}, {"2026-09", "2026-10"}),
        ({"from_month": Date(year=2026, month=10), "to_month": Date(year=2026, month=10)}, {"2026-10"}),
    ],
)
async def test_a_period_is_of_whole_months(side: Side, asked: dict[str, Any], months: set[str]) -> None:
    month = 31 * 24 * 3_600_000_000
    for n in range(3):
        order_id = side.history.created()
        side.history.paid(order_id)
        event = side.history.events.pop()
        at = event.recorded_at + n * month
        side.history.add(facts.OrderPaid(order_id=order_id), recorded_at=at)
    await side.fold()
    assert {key[0] for key in await side.monthly(**asked)} == months


async def test_some_products_are_picked(side: Side) -> None:
    items = [item(product, 1, "2") for product in ("cup", "pot", "tea")]
    side.history.paid(side.history.created(items=items))
    await side.fold()
    assert [key[1] for key in await side.monthly(product_ids=["tea", "cup", "hat"], page_size=1)] == [
        "cup",
        "tea",
    ]
    assert (await side.page(product_ids=["hat"])).total_size == 0


@pytest.mark.parametrize(
    ("field", "request_fields"),
    [
        ("year", {"year": 2026, "from_month": Date(year=2026, month=1)}),
        ("from_month", {"from_month": Date(year=2026, month=13)}),
        ("from_month", {"from_month": Date(year=2026)}),
        ("to_month", {"to_month": Date(year=2026, month=2, day=1)}),
        ("to_month", {"from_month": Date(year=2026, month=2), "to_month": Date(year=2026, month=1)}),
    ],
)
async def test_a_wrong_period_is_refused_by_its_field(
    side: Side, field: str, request_fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await side.page(**request_fields)
    assert [name for name, _ in refused.value.violations] == [field]


@pytest.mark.parametrize(
    ("field", "first", "last"),
    [
        ("from_day", "2026-02-29", "2026-03-01"),
        ("to_day", "2026-01-01", "2026-00-00"),
        ("to_day", "2026-01-02", "2026-01-01"),
        ("to_day", "2026-01-01", "2027-01-02"),
    ],
)
async def test_wrong_days_are_refused_by_their_field(side: Side, field: str, first: str, last: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await side.days(first, last)
    assert [name for name, _ in refused.value.violations] == [field]


async def test_a_damaged_page_token_is_refused(side: Side) -> None:
    side.history.paid(side.history.created(items=[item("cup", 1, "1"), item("tea", 1, "1")]))
    await side.fold()
    token = (await side.page(page_size=1)).next_page_token
    with pytest.raises(InvalidRequest, match="another query"):
        await side.page(page_token=token, year=2026)
