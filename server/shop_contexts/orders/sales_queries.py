"""Answers about sales, out of sums that the projector keeps."""

from __future__ import annotations

from collections.abc import Sequence

from google.type.money_pb2 import Money
from sqlalchemy import ColumnElement, Connection, bindparam, func, select, tuple_

from shop.orders.v1.query_service_pb2 import (
    DailyStatistics,
    GetDailyStatisticsRequest,
    GetDailyStatisticsResponse,
    GetMonthlySalesRequest,
    GetMonthlySalesResponse,
    MonthlySales,
    ProductCount,
)
from shop_contexts.orders.money import NANOS, from_nanos
from shop_contexts.orders.periods import (
    FIRST_MONTH,
    LAST_MONTH,
    day_number,
    day_of,
    day_shown,
    month_number,
    month_shown,
    wrong,
)
from shop_contexts.orders.sales_tables import (
    DailyAmountRow,
    DailyOrdersRow,
    DailyProductRow,
    MonthlySalesRow,
    SalesMonthRow,
)
from twofold_server.modelling import InvalidRequest, Query, page_of

MAX_DAYS = 366
TOP_PRODUCTS = 10
_MOST_NANOS = 2**63 * NANOS - 1

_KEY = (MonthlySalesRow.month, MonthlySalesRow.product_id, MonthlySalesRow.currency)
_TOP = (
    select(DailyProductRow.product_id, DailyProductRow.quantity)
    .where(DailyProductRow.day == bindparam("day"))
    .order_by(DailyProductRow.quantity.desc(), DailyProductRow.product_id)
    .limit(bindparam("count"))
)


def get_monthly_sales(request: GetMonthlySalesRequest, connection: Connection) -> GetMonthlySalesResponse:
    """A page of sums, by their primary key."""
    page = page_of(request)
    first, last = _months(request)
    wanted = [MonthlySalesRow.month.between(first, last)]
    if request.product_ids:
        wanted.append(MonthlySalesRow.product_id.in_(sorted(set(request.product_ids))))
    rows = connection.execute(
        select(*_KEY, MonthlySalesRow.quantity, MonthlySalesRow.amount)
        .where(*wanted, *_after(page.after))
        .order_by(*_KEY)
        .offset(page.skip)
        .limit(page.size + 1)
    ).all()
    shown, more = rows[: page.size], len(rows) > page.size
    return GetMonthlySalesResponse(
        sales=[_sales(*row) for row in shown],
        next_page_token=page.next_token([str(key) for key in shown[-1][:3]]) if more else "",
        total_size=_count(wanted, first, last, bool(request.product_ids), connection),
    )


def _months(request: GetMonthlySalesRequest) -> tuple[int, int]:
    named = request.HasField("from_month"), request.HasField("to_month")
    if request.year:
        if any(named):
            raise wrong("year", "cannot go with from_month or to_month; use one or the other")
        return request.year * 100 + 1, request.year * 100 + 12
    first = month_number("from_month", request.from_month) if named[0] else FIRST_MONTH
    last = month_number("to_month", request.to_month) if named[1] else LAST_MONTH
    if last < first:
        raise wrong("to_month", "must not be before from_month")
    return first, last


def _after(keys: tuple[str, ...]) -> list[ColumnElement[bool]]:
    if not keys:
        return []
    if len(keys) != 3 or not keys[0].isdecimal():
        raise InvalidRequest("page_token is damaged; start without a token", reason="INVALID_PAGE_TOKEN")
    return [tuple_(*_KEY) > tuple_(int(keys[0]), *keys[1:])]


def _count(
    wanted: Sequence[ColumnElement[bool]], first: int, last: int, some: bool, connection: Connection
) -> int:
    if some:
        counted = select(func.count()).select_from(MonthlySalesRow).where(*wanted)
    else:
        counted = select(func.sum(SalesMonthRow.rows)).where(SalesMonthRow.month.between(first, last))
    return int(connection.execute(counted).scalar() or 0)


def _sales(month: int, product_id: str, currency: str, quantity: int, amount: int) -> MonthlySales:
    return MonthlySales(
        month=month_shown(month),
        product_id=product_id,
        quantity=quantity,
        sales=_money(currency, amount),
        average_price=_money(currency, (2 * amount + quantity) // (2 * quantity)),
    )


def get_daily_statistics(
    request: GetDailyStatisticsRequest, connection: Connection
) -> GetDailyStatisticsResponse:
    """The days of a period; the most sold products by an index, a few rows a day."""
    first, last = day_of("from_day", request.from_day), day_of("to_day", request.to_day)
    if last < first:
        raise wrong("to_day", "must not be before from_day")
    if (last - first).days >= MAX_DAYS:
        raise wrong("to_day", f"must be less than {MAX_DAYS} days after from_day; ask several times")
    between = day_number(first), day_number(last)
    rows = connection.execute(
        select(DailyOrdersRow.day, DailyOrdersRow.orders, DailyOrdersRow.cancelled, DailyOrdersRow.paid)
        .where(DailyOrdersRow.day.between(*between))
        .order_by(DailyOrdersRow.day)
    )
    days = {
        day: DailyStatistics(day=day_shown(day), orders=orders, cancelled_orders=cancelled, paid_orders=paid)
        for day, orders, cancelled, paid in rows.all()
    }
    _add_amounts(days, between, connection)
    _add_top_products(days, request.top_products or TOP_PRODUCTS, connection)
    return GetDailyStatisticsResponse(days=days.values())


def _add_amounts(days: dict[int, DailyStatistics], between: tuple[int, int], connection: Connection) -> None:
    amounts = connection.execute(
        select(DailyAmountRow.day, DailyAmountRow.currency, DailyAmountRow.amount)
        .where(DailyAmountRow.day.between(*between))
        .order_by(DailyAmountRow.day, DailyAmountRow.currency)
    )
    for day, currency, amount in amounts.all():
        days[day].sales.append(_money(currency, amount))


def _add_top_products(days: dict[int, DailyStatistics], count: int, connection: Connection) -> None:
    for day, statistics in days.items():
        if not statistics.paid_orders:
            continue
        for product_id, quantity in connection.execute(_TOP, {"day": day, "count": count}).all():
            statistics.top_products.append(ProductCount(product_id=product_id, quantity=quantity))


def _money(currency: str, nanos: int) -> Money:
    return from_nanos(currency, min(nanos, _MOST_NANOS))


sales_queries = (
    Query(request=GetMonthlySalesRequest, answer=get_monthly_sales),
    Query(request=GetDailyStatisticsRequest, answer=get_daily_statistics),
)
"""GetMonthlySales and GetDailyStatistics."""
