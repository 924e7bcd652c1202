"""Answers about orders, out of the read model."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message
from sqlalchemy import ColumnElement, Connection, bindparam, func, select, tuple_

from shop.orders.v1.query_service_pb2 import (
    GetOrderRequest,
    GetOrderResponse,
    ListCustomerOrdersRequest,
    ListCustomerOrdersResponse,
    WatchOrderRequest,
    WatchOrderResponse,
)
from shop_contexts.orders.summaries import summary
from shop_contexts.orders.tables import CustomerRow, OrderRow
from twofold_server.modelling import (
    CoalescedQuery,
    InvalidRequest,
    Lookup,
    NotFound,
    Query,
    WatchQuery,
    page_of,
)

_views = Lookup(OrderRow.order_id, OrderRow.view)

_WATCHED = select(OrderRow.order_id, OrderRow.position, OrderRow.view).where(
    OrderRow.order_id.in_(bindparam("ids", expanding=True))
)


def get_orders(requests: Sequence[GetOrderRequest], connection: Connection) -> list[Message | Exception]:
    """Each order by its id."""
    views = _views(connection, {request.order_id for request in requests})
    return [_order(request.order_id, *views.get(request.order_id, (None,))) for request in requests]


def padded(ids: list[str]) -> list[str]:
    """As many as a power of two: each number of values is a statement of its own to prepare and cache."""
    return ids + ids[-1:] * ((1 << (len(ids) - 1).bit_length()) - len(ids))


def _not_found(order_id: str) -> NotFound:
    return NotFound(f"no order {order_id}", reason="ORDER_NOT_FOUND", metadata={"order_id": order_id})


def _order(order_id: str, view: bytes | None) -> Message | Exception:
    if view is None:
        return _not_found(order_id)
    response = GetOrderResponse()
    response.order.MergeFromString(view)
    return response


def watched_orders(
    requests: Sequence[WatchOrderRequest], connection: Connection
) -> list[tuple[int, Message] | Exception]:
    """Each order by its id, with the position of its last event."""
    wanted = list({request.order_id for request in requests})
    rows = connection.execute(_WATCHED, {"ids": padded(wanted)}).all()
    found = {order_id: (position, view) for order_id, position, view in rows}
    return [_watched(request.order_id, found.get(request.order_id)) for request in requests]


def _watched(order_id: str, found: tuple[int, bytes] | None) -> tuple[int, Message] | Exception:
    if found is None:
        return _not_found(order_id)
    response = WatchOrderResponse()
    response.order.MergeFromString(found[1])
    return found[0], response


def list_customer_orders(request: ListCustomerOrdersRequest, connection: Connection) -> Message:
    """A page of a customer's orders, newest first: by (created_at, order_id), which an index holds."""
    page = page_of(request)
    wanted = [OrderRow.customer_id == request.customer_id]
    if request.status:
        wanted.append(OrderRow.status == request.status)
    rows = connection.execute(
        select(OrderRow.created_at, OrderRow.order_id, OrderRow.view)
        .where(*wanted, *_before(page.after))
        .order_by(OrderRow.created_at.desc(), OrderRow.order_id.desc())
        .offset(page.skip)
        .limit(page.size + 1)
    ).all()
    shown, more = rows[: page.size], len(rows) > page.size
    return ListCustomerOrdersResponse(
        orders=[summary(row.view) for row in shown],
        next_page_token=page.next_token((str(shown[-1].created_at), shown[-1].order_id)) if more else "",
        total_size=_count(request, connection),
    )


def _count(request: ListCustomerOrdersRequest, connection: Connection) -> int:
    if not request.status:
        known = select(CustomerRow.orders).where(CustomerRow.customer_id == request.customer_id)
        return connection.execute(known).scalar() or 0
    among = OrderRow.customer_id == request.customer_id, OrderRow.status == request.status
    return connection.execute(select(func.count()).select_from(OrderRow).where(*among)).scalar_one()


def _before(keys: tuple[str, ...]) -> list[ColumnElement[bool]]:
    if not keys:
        return []
    if len(keys) != 2 or not keys[0].isdecimal():
        raise InvalidRequest("page_token is damaged; start without a token", reason="INVALID_PAGE_TOKEN")
    return [tuple_(OrderRow.created_at, OrderRow.order_id) < tuple_(int(keys[0]), keys[1])]


order_queries = (
    CoalescedQuery(
        request=GetOrderRequest,
        answer_all=get_orders,
        cached_by=lambda request: (OrderRow, request.order_id),
    ),
    Query(
        request=ListCustomerOrdersRequest,
        answer=list_customer_orders,
        cached_by=lambda request: (CustomerRow, request.customer_id),
    ),
    WatchQuery(request=WatchOrderRequest, answer_all=watched_orders),
)
"""One for each RPC of shop.orders.v1.QueryService."""
