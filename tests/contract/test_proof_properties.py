"""Whatever is edited in a read store is found, and mended; nothing else ever is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.tables import CustomerRow, OrderRow
from tests.contract.event_stores import sqlite_url
from tests.order_histories import folded
from tests.read_proofs import ReadModel
from twofold_server.database import open_database
from twofold_server.projections.schema import prepare

Row = dict[str, Any]
NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "customer_id": TEXTS,
    "status": NUMBERS,
    "created_at": NUMBERS,
    "position": NUMBERS,
    "view": st.binary(max_size=30),
}


def is_another(column: str, old: Any, new: Any) -> bool:
    """Whether a value says something else: bytes may mean the same message."""
    if column != "view" or old == new:
        return bool(old != new)
    try:
        return bool(Order.FromString(new) != Order.FromString(old))
    except Exception:
        return True


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10_000), by_stream=st.booleans())
async def test_every_edit_is_found_and_mended_and_no_other_row_is_named(
    data: st.DataObject, seed: int, by_stream: bool
) -> None:
    with TemporaryDirectory() as folder:
        async with open_database(sqlite_url(Path(folder))) as database:
            await database.write(lambda c: prepare(c, [orders_projection]))
            model = ReadModel(database)
            await model.begin()
            model.history.grow(40, seed=seed)
            await model.catch_up()
            edited = await edit_some(model, data)
            verify = model.verify_sample if by_stream else model.verify
            assert {each.key[0] for each in await verify(mend=True)} == edited
            assert await verify() == []
            views = await database.read(lambda c: c.execute(select(OrderRow.order_id, OrderRow.view)).all())
            orders = folded(model.history.events)
            assert {order_id: Order.FromString(view) for order_id, view in views} == orders


async def edit_some(model: ReadModel, data: st.DataObject) -> set[str]:
    """Change, delete and add rows of orders; the keys of those that are not as before."""
    rows = await model.database.read(lambda c: c.execute(select(OrderRow.__table__)).mappings().all())
    edited: set[str] = set()
    for row in data.draw(
        st.lists(st.sampled_from(rows), max_size=4, unique_by=lambda each: each["order_id"])
    ):
        edited |= await change_or_delete(model, data, dict(row))
    for order_id in data.draw(st.lists(TEXTS, max_size=2, unique=True)):
        values = {column: data.draw(strategy) for column, strategy in COLUMNS.items()}
        await model.edit(insert(OrderRow).values(order_id=order_id, **values))
        edited.add(order_id)
    return edited


async def change_or_delete(model: ReadModel, data: st.DataObject, row: Row) -> set[str]:
    mine = OrderRow.order_id == row["order_id"]
    if data.draw(st.booleans(), "delete"):
        await model.edit(delete(OrderRow).where(mine))
        return {row["order_id"]}
    columns = data.draw(st.sets(st.sampled_from(sorted(COLUMNS)), min_size=1), "columns")
    values = {column: data.draw(COLUMNS[column], column) for column in columns}
    await model.edit(update(OrderRow).where(mine).values(values))
    changed = any(is_another(column, row[column], value) for column, value in values.items())
    return {row["order_id"]} if changed else set()


@settings(max_examples=15, deadline=None)
@given(orders=NUMBERS, seed=st.integers(0, 1000))
async def test_a_counter_of_any_value_is_found_and_mended(orders: int, seed: int) -> None:
    with TemporaryDirectory() as folder:
        async with open_database(sqlite_url(Path(folder))) as database:
            await database.write(lambda c: prepare(c, [orders_projection]))
            model = ReadModel(database)
            await model.begin()
            model.history.grow(20, seed=seed)
            await model.catch_up()
            right = len(folded(model.history.events))
            await model.edit(update(CustomerRow).values(orders=orders))
            assert [each.table for each in await model.verify(mend=True)] == (
                [] if orders == right else ["order_customers"]
            )
            assert await model.verify() == []
