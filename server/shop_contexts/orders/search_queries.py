"""Orders by pieces of their text, filtered and sorted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import ColumnElement, Connection

from shop.orders.v1.query_service_pb2 import OrderFilter, SearchOrdersRequest, SearchOrdersResponse
from shop_contexts.orders.money import to_nanos
from shop_contexts.orders.periods import wrong
from shop_contexts.orders.search_tables import OrderSearchRow, OrderTextRow
from shop_contexts.orders.summaries import summary
from twofold_server.modelling import InvalidRequest, Query, page_of
from twofold_server.modelling.text_index import pieces_of
from twofold_server.modelling.text_search import Search


class _Order(NamedTuple):
    columns: tuple[Any, ...]
    read: tuple[Callable[[str], Any], ...]
    """How the keys of a page token are read."""
    descending: bool


_BY_TIME = (OrderSearchRow.created_at, OrderSearchRow.number), (int, int)
_BY_TOTAL = (OrderSearchRow.currency, OrderSearchRow.total, OrderSearchRow.number), (str, int, int)
ORDERS = {
    "create_time desc": _Order(*_BY_TIME, descending=True),
    "create_time": _Order(*_BY_TIME, descending=False),
    "total desc": _Order(*_BY_TOTAL, descending=True),
    "total": _Order(*_BY_TOTAL, descending=False),
}
"""What ``order_by`` may be; the first is meant where nothing is said."""
_LEAST, _MOST = -(2**63), 2**63 - 1


def search_orders(request: SearchOrdersRequest, connection: Connection) -> SearchOrdersResponse:
    """A page of orders."""
    page, order = page_of(request), _order(request.order_by)
    found = Search(
        columns=(OrderSearchRow.view, *order.columns),
        number=OrderSearchRow.number,
        words=OrderTextRow.words,
        pieces=pieces_of(request.query),
        where=_conditions(request.filter),
        order=order.columns,
        descending=order.descending,
        after=_after(page.after, order),
        skip=page.skip,
        size=page.size,
    ).run(connection)
    shown, more = found.rows[: page.size], len(found.rows) > page.size
    return SearchOrdersResponse(
        orders=[summary(row.view) for row in shown],
        next_page_token=page.next_token([str(key) for key in shown[-1][1:]]) if more else "",
        total_size=found.total,
        total_size_is_minimum=found.at_least,
    )


def _order(order_by: str) -> _Order:
    asked = " ".join(order_by.split()) or next(iter(ORDERS))
    try:
        return ORDERS[asked]
    except KeyError:
        raise wrong("order_by", f"must be one of: {', '.join(ORDERS)}", reason="INVALID_ORDER_BY") from None


def _after(keys: tuple[str, ...], order: _Order) -> list[Any]:
    try:
        return [read(key) for key, read in zip(keys, order.read, strict=True)] if keys else []
    except ValueError:
        raise InvalidRequest(
            "page_token is damaged; start without a token", reason="INVALID_PAGE_TOKEN"
        ) from None


def _conditions(asked: OrderFilter) -> list[ColumnElement[bool]]:
    row = OrderSearchRow
    found = [
        *([row.customer_id == asked.customer_id] if asked.customer_id else []),
        *([row.status == asked.status] if asked.status else []),
        *([row.country == asked.country_code] if asked.country_code else []),
        *([row.created_at >= _micros(asked.created_from)] if asked.HasField("created_from") else []),
        *([row.created_at < _micros(asked.created_to)] if asked.HasField("created_to") else []),
    ]
    return found + _total_conditions(asked)


def _total_conditions(asked: OrderFilter) -> list[ColumnElement[bool]]:
    row = OrderSearchRow
    bounds = [m for m in ("total_from", "total_to") if asked.HasField(m)]
    currencies = {getattr(asked, name).currency_code for name in bounds}
    if len(currencies) > 1:
        raise wrong("filter.total_to", "must be in the currency of total_from", reason="INVALID_FILTER")
    return [
        *(row.currency == currency for currency in currencies),
        *([row.total >= to_nanos(asked.total_from)] if "total_from" in bounds else []),
        *([row.total <= to_nanos(asked.total_to)] if "total_to" in bounds else []),
    ]


def _micros(at: Timestamp) -> int:
    """The moment in microseconds, as far as a column can hold it."""
    return max(_LEAST, min(at.seconds * 1_000_000 + at.nanos // 1000, _MOST))


search_queries = (Query(request=SearchOrdersRequest, answer=search_orders),)
"""SearchOrders."""
