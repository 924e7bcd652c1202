"""Whatever happens to orders, in whatever order of their streams: sums are those of a plain count."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shop_contexts.orders.sales import handlers
from shop_contexts.orders.sales_tables import MonthlySalesRow, SalesMonthRow, UnshippedOrderRow
from tests.order_histories import DictRows, order_codec
from tests.order_lives import Lives
from twofold_server.event_store.events import RecordedEvent

SEEDS = st.integers(min_value=0, max_value=2**32)
CODEC = order_codec()


def folded(events: list[RecordedEvent]) -> dict[Any, Any]:
    rows = DictRows()
    for recorded in events:
        event = CODEC.event(recorded)
        handlers[type(event.data)](event, rows)
    return rows.rows


def shuffled(events: list[RecordedEvent], dice: random.Random) -> list[RecordedEvent]:
    """Each stream in its order, the streams mixed anew."""
    streams: dict[str, list[RecordedEvent]] = {}
    for event in events:
        streams.setdefault(event.stream_name, []).append(event)
    order = [event.stream_name for event in events]
    dice.shuffle(order)
    return [streams[name].pop(0) for name in order]


def values(rows: dict[Any, Any]) -> dict[Any, Any]:
    return {
        place: {name: value for name, value in vars(row).items() if not name.startswith("_")}
        for place, row in rows.items()
        if place[0] is not UnshippedOrderRow  # which says at which position it is
    }


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, count=st.integers(min_value=1, max_value=120), hours=st.sampled_from([0, 5, 500]))
def test_monthly_sales_are_those_of_the_orders_that_stand(seed: int, count: int, hours: int) -> None:
    lives = Lives()
    lives.grow(count, seed=seed, hours=hours)
    rows = folded(lives.history.events)
    found = {
        (f"{row.month // 100}-{row.month % 100:02}", row.product_id, row.currency): (row.quantity, row.amount)
        for row in rows.values()
        if isinstance(row, MonthlySalesRow)
    }
    assert found == lives.monthly()
    counted = {row.month: row.rows for row in rows.values() if isinstance(row, SalesMonthRow)}
    months = [int(month.replace("-", "")) for month, _, _ in found]
    assert counted == {month: months.count(month) for month in months}


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_sums_do_not_depend_on_the_order_of_events_of_different_orders(seed: int) -> None:
    lives = Lives()
    lives.grow(80, seed=seed)
    events = lives.history.events
    assert values(folded(shuffled(events, random.Random(seed)))) == values(folded(events))
