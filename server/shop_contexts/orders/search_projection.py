"""The fold from facts about orders to what they are found by.

Names on disk: the projection ``order_search``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.money import to_nanos
from shop_contexts.orders.search_tables import OrderSearchRow, OrderTextRow
from shop_contexts.orders.views import apply, changes
from twofold_server.modelling import Event, Projection, Rows, stream_by
from twofold_server.modelling.text_index import prepare_text_table, searchable

_CHANGES_THE_TEXT = facts.OrderItemAdded | facts.OrderItemRemoved


def words_of(order: Order) -> str:
    """What an order is found by: its ids, its products and its address."""
    to = order.shipping_address
    return searchable(
        order.order_id,
        order.customer_id,
        *(item.product_id for item in order.items),
        *(to.recipient, to.line1, to.line2, to.postal_code, to.city, to.region, to.country_code),
    )


def _begins(event: Event[facts.OrderCreated], rows: Rows) -> None:
    order = Order()
    apply(order, event)
    rows.add(OrderTextRow(rowid=event.position, words=words_of(order)))
    rows.add(
        OrderSearchRow(
            order_id=order.order_id,
            number=event.position,
            customer_id=order.customer_id,
            status=order.status,
            country=order.shipping_address.country_code,
            created_at=order.create_time.ToMicroseconds(),
            currency=order.total.currency_code,
            total=to_nanos(order.total),
            position=event.position,
            view=order.SerializeToString(),
        )
    )


def _changes(event: Event[Any], rows: Rows) -> None:
    row = rows.get(OrderSearchRow, event.aggregate_id)
    if row is None:
        raise LookupError(f"no row for order {event.aggregate_id}")
    order = Order.FromString(row.view)
    apply(order, event)
    row.status = order.status
    row.total = to_nanos(order.total)
    row.position = event.position
    row.view = order.SerializeToString()
    if isinstance(event.data, _CHANGES_THE_TEXT):
        text = rows.get(OrderTextRow, row.number)
        if text is None:
            raise LookupError(f"no text for order {event.aggregate_id}")
        words = words_of(order)
        if words != text.words:  # writing it costs as much as all the rest
            text.words = words


def _related(event: Event[Any], rows: Rows) -> Iterable[tuple[type[Any], Hashable]]:
    if isinstance(event.data, _CHANGES_THE_TEXT):
        row = rows.get(OrderSearchRow, event.aggregate_id)
        if row is not None:
            yield OrderTextRow, row.number


order_search_projection = Projection(
    name="order_search",
    sync="batched(500, 0.03)",
    tables=[OrderSearchRow, OrderTextRow],
    handlers=dict.fromkeys(changes, _changes) | {facts.OrderCreated: _begins},
    prefetch={OrderSearchRow: lambda event: event.data.order_id},
    prefetch_related=_related,
    stream_of={OrderSearchRow: stream_by("order", "order_id")},
    prepare=partial(prepare_text_table, name=OrderTextRow.__tablename__, number="rowid", words="words"),
    side_tables=[OrderTextRow.__tablename__],
)
