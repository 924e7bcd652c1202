"""Sums by month and day over the whole way, from the command to the answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.type.date_pb2 import Date

from shop.orders.v1.command_service_pb2 import CancelOrderRequest
from shop.orders.v1.query_service_pb2 import (
    DailyStatistics,
    GetDailyStatisticsRequest,
    GetMonthlySalesRequest,
    MonthlySales,
)
from tests.e2e.shop import Shop, a_payment, item, money, new_id
from twofold.v1.reading_pb2 import ON_STALE_FAIL, ReadOptions


async def monthly(shop: Shop, token: str, product_id: str) -> list[MonthlySales]:
    fresh = ReadOptions(consistency_token=token, on_stale=ON_STALE_FAIL)
    request = GetMonthlySalesRequest(product_ids=[product_id], read_options=fresh)
    return list((await shop.queries.GetMonthlySales(request)).sales)


async def on_day(shop: Shop, token: str, day: Date) -> DailyStatistics:
    fresh = ReadOptions(consistency_token=token, on_stale=ON_STALE_FAIL)
    request = GetDailyStatisticsRequest(from_day=day, to_day=day, top_products=100, read_options=fresh)
    days = (await shop.queries.GetDailyStatistics(request)).days
    return days[0] if days else DailyStatistics()


def as_date(at: Any) -> Date:
    when = at.ToDatetime()
    return Date(year=when.year, month=when.month, day=when.day)


async def test_a_payment_is_counted_once_and_a_cancellation_takes_it_back(shop: Shop) -> None:
    product, started = f"hat-{new_id()[:8]}", datetime.now(UTC)
    before = Date(year=started.year, month=started.month, day=started.day)
    first, second = [await shop.create(item(product, 2, money(3)), item("tea")) for _ in range(2)]
    paid = [(await shop.commands.PayOrder(a_payment(order))).receipt for order in (first, second)]
    [event] = await shop.log(after=paid[1].position - 1)
    [sold] = await monthly(shop, paid[1].consistency_token, product)
    today = as_date(event.recorded_at)
    assert sold == MonthlySales(
        month=Date(year=today.year, month=today.month),
        product_id=product,
        quantity=4,
        sales=money(12),
        average_price=money(3),
    )
    day = await on_day(shop, paid[1].consistency_token, today)
    assert (product, 4) in [(top.product_id, top.quantity) for top in day.top_products]

    cancelled = await shop.commands.CancelOrder(CancelOrderRequest(order_id=first))
    [sold] = await monthly(shop, cancelled.receipt.consistency_token, product)
    assert (sold.quantity, sold.sales) == (2, money(6))
    after = await on_day(shop, cancelled.receipt.consistency_token, today)
    if before == today:  # else the day changed meanwhile
        assert after.cancelled_orders == day.cancelled_orders + 1
        assert after.orders == day.orders - 1
        assert after.paid_orders == day.paid_orders - 1
