"""What verification finds and what repair mends, whatever the read store stands on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import delete, insert, select, update

from shop.orders.v1.events_pb2 import OrderCancelled, OrderItemAdded
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.tables import CustomerRow, OrderRow
from tests.order_histories import euros, folded
from tests.read_proofs import ReadModel, paths
from twofold_server.database import Database, open_database
from twofold_server.errors import InvalidRequest, Unavailable
from twofold_server.projections.checkpoints import TakenOver
from twofold_server.projections.proof import checking
from twofold_server.projections.proof.differences import Difference, FieldDifference, Kind
from twofold_server.projections.proof.findings import Progress, Summary
from twofold_server.projections.proof.patrol import Patrol
from twofold_server.projections.schema import prepare
from twofold_server.projections.status import ProjectionStatus, State


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, [orders_projection]))
        yield database


@pytest.fixture
async def model(database: Database) -> ReadModel:
    """A read model of some orders, all of one customer, level with its log."""
    model = ReadModel(database)
    await model.begin()
    await model.grow(300)
    return model


async def rows_of(database: Database) -> tuple[dict[str, Order], int]:
    views = await database.read(lambda c: c.execute(select(OrderRow.order_id, OrderRow.view)).all())
    count = await database.read(lambda c: c.execute(select(CustomerRow.orders)).scalar_one())
    return {order_id: Order.FromString(view) for order_id, view in views}, count


async def is_the_fold(model: ReadModel) -> bool:
    orders = folded(model.history.events)
    return await rows_of(model.database) == (orders, len(orders))


def some_order(model: ReadModel) -> str:
    return model.history.events[0].stream_name.removeprefix("order-")


# --- finding ----------------------------------------------------------------------------------------


async def test_a_read_model_that_nobody_touched_is_the_fold_of_its_log(model: ReadModel) -> None:
    assert await model.verify() == []
    assert await model.verify_sample() == []


async def test_an_edited_column_is_named_with_both_values(model: ReadModel) -> None:
    order_id = some_order(model)
    await model.edit(update(OrderRow).where(OrderRow.order_id == order_id).values(customer_id="eve"))
    expected = [
        Difference(
            kind=Kind.CHANGED,
            table="orders",
            key=(order_id,),
            position=300,
            fields=(FieldDifference("customer_id", "eve", "ada"),),
        )
    ]
    assert await model.verify() == expected
    assert await model.verify_sample() == expected
    assert str(expected[0]) == f"orders {order_id}: customer_id is eve, not ada"


async def test_an_edit_inside_a_message_is_named_by_its_path(model: ReadModel) -> None:
    order_id = some_order(model)
    view = folded(model.history.events)[order_id]
    was = view.shipping_address.city
    view.shipping_address.city = "Oslo"
    del view.items[0]
    content = view.SerializeToString()
    await model.edit(update(OrderRow).where(OrderRow.order_id == order_id).values(view=content))
    (found,) = await model.verify_sample()
    fields = {each.field: (each.stored, each.expected) for each in found.fields}
    assert fields["view.shipping_address.city"] == ("Oslo", was)
    assert any(field.startswith("view.items[") for field in fields)
    assert "view.order_id" not in fields
    assert await model.verify() == [found]


async def test_bytes_that_are_no_message_are_shown_as_they_are(model: ReadModel) -> None:
    statement = update(OrderRow).where(OrderRow.order_id == some_order(model)).values(view=b"\xff" * 99)
    await model.edit(statement)
    (found,) = await model.verify()
    assert found.fields[0].stored == "0x" + "ff" * 32 + "…"


async def test_a_deleted_row_is_missing(model: ReadModel) -> None:
    order_id = some_order(model)
    await model.edit(delete(OrderRow).where(OrderRow.order_id == order_id))
    expected = [Difference(kind=Kind.MISSING, table="orders", key=(order_id,), position=300)]
    assert await model.verify() == expected
    assert await model.verify_sample() == expected
    assert str(expected[0]) == f"orders {order_id} is missing"


async def test_a_row_that_no_event_made_is_surplus(model: ReadModel) -> None:
    strange = {
        "order_id": "x",
        "customer_id": "eve",
        "status": 1,
        "created_at": 1,
        "position": 1,
        "view": b"",
    }
    await model.edit(insert(OrderRow).values(strange))
    expected = [Difference(kind=Kind.SURPLUS, table="orders", key=("x",), position=300)]
    assert await model.verify() == expected
    assert await model.verify_sample() == expected
    assert str(expected[0]) == "orders x should not be there"


async def test_a_counter_that_many_streams_feed_is_verified_by_the_whole_log(model: ReadModel) -> None:
    await model.edit(update(CustomerRow).values(orders=CustomerRow.orders + 1))
    orders = len(folded(model.history.events))
    (found,) = await model.verify()
    assert found.fields == (FieldDifference("orders", str(orders + 1), str(orders)),)
    *_, summary = [each async for each in model.verifier.verify_sample(10)]
    assert isinstance(summary, Summary)
    assert summary.passed_over == (
        "table order_customers: several streams feed its rows, verify all to check it",
    )


async def test_an_event_that_was_never_applied_is_found(model: ReadModel) -> None:
    """A lost event leaves a row that is consistent in itself, at an older position."""
    order_id = some_order(model)
    before = await model.database.read(
        lambda c: c.execute(select(OrderRow.__table__).where(OrderRow.order_id == order_id)).one()
    )
    model.history.add(OrderCancelled(order_id=order_id, reason="no"))
    await model.catch_up()
    await model.edit(
        update(OrderRow)
        .where(OrderRow.order_id == order_id)
        .values(status=before.status, position=before.position, view=before.view)
    )
    assert {("changed", "orders", "status"), ("changed", "orders", "position")} <= paths(await model.verify())
    assert {("changed", "orders", "status")} <= paths(await model.verify_sample())


async def test_one_stream_is_verified_by_itself(model: ReadModel) -> None:
    order_id = some_order(model)
    await model.edit(update(OrderRow).values(status=99))
    found = [each async for each in model.verifier.verify_streams([f"order-{order_id}"])]
    differing = [each.key for each in found if isinstance(each, Difference)]
    assert differing == [(order_id,)]


async def test_many_pages_are_compared_row_by_row(model: ReadModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "PAGE", 7)
    ids = sorted(folded(model.history.events))
    await model.edit(update(OrderRow).where(OrderRow.order_id == ids[0]).values(status=99))
    await model.edit(update(OrderRow).where(OrderRow.order_id == ids[-1]).values(status=99))
    await model.edit(delete(OrderRow).where(OrderRow.order_id.in_(ids[20:40])))
    found = await model.verify()
    assert {each.key[0] for each in found} == {ids[0], ids[-1], *ids[20:40]}


async def test_a_proof_tells_how_far_it_is(model: ReadModel) -> None:
    found = [each async for each in model.verifier.verify_all()]
    progress = [each for each in found if isinstance(each, Progress)]
    rows = len(folded(model.history.events)) + 1
    assert [each.position for each in progress if not each.checked][:2] == [50, 100]
    assert progress[-1] == Progress(position=300, head=300, checked=rows, total=rows)
    assert found[-1] == Summary(position=300, rows=rows, differences=0, repaired=0)


async def test_a_log_that_ends_before_the_read_model_is_told(model: ReadModel) -> None:
    del model.history.events[200:]
    with pytest.raises(Unavailable, match="the log ends before position 300"):
        await model.verify()


async def test_a_sample_needs_a_table_that_tells_its_streams(database: Database) -> None:
    model = ReadModel(database, replace(orders_projection, stream_of={}))
    await model.begin()
    await model.grow(10)
    with pytest.raises(InvalidRequest, match="verify all rows"):
        await model.verify_sample()
    assert await model.verify() == []


# --- mending ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["verify", "verify_sample"])
async def test_repair_mends_what_was_found_and_nothing_else(model: ReadModel, how: str) -> None:
    ids = sorted(folded(model.history.events))
    strange = {
        "order_id": "x",
        "customer_id": "eve",
        "status": 1,
        "created_at": 1,
        "position": 1,
        "view": b"",
    }
    await model.edit(update(OrderRow).where(OrderRow.order_id == ids[3]).values(status=99, view=b"\xff"))
    await model.edit(delete(OrderRow).where(OrderRow.order_id == ids[5]))
    await model.edit(insert(OrderRow).values(strange))
    mended = await getattr(model, how)(mend=True)
    assert {each.key[0] for each in mended} == {ids[3], ids[5], "x"}
    assert all(each.repaired for each in mended)
    assert await is_the_fold(model)
    assert await model.verify() == []


async def test_a_counter_is_mended_too(model: ReadModel) -> None:
    await model.edit(update(CustomerRow).values(orders=0))
    await model.verify(mend=True)
    assert await is_the_fold(model)


async def test_the_fold_goes_on_from_what_was_mended(model: ReadModel) -> None:
    await model.edit(update(OrderRow).values(status=99))
    await model.edit(update(CustomerRow).values(orders=0))
    await model.verify(mend=True)
    await model.grow(100)
    assert await is_the_fold(model)


async def test_without_repair_nothing_is_written(model: ReadModel) -> None:
    await model.edit(update(CustomerRow).values(orders=0))
    await model.verify()
    assert not await is_the_fold(model)


async def test_a_projector_that_was_replaced_mends_nothing(model: ReadModel, database: Database) -> None:
    newer = ReadModel(database)
    await newer.begin()
    await model.edit(update(CustomerRow).values(orders=0))
    with pytest.raises(TakenOver):
        await model.verify(mend=True)
    assert not await is_the_fold(model)


# --- while the projector goes on ----------------------------------------------------------------------


async def test_what_was_not_applied_yet_is_not_expected(model: ReadModel) -> None:
    model.history.add(OrderCancelled(order_id=some_order(model), reason="no"))
    model.history.created()
    assert await model.verify() == []
    assert await model.verify_sample() == []


@pytest.mark.parametrize("how", ["verify", "verify_sample"])
async def test_a_row_is_mended_as_far_as_the_read_model_is(model: ReadModel, how: str) -> None:
    order_id = some_order(model)
    model.history.add(OrderCancelled(order_id=order_id, reason="no"))
    await model.edit(update(OrderRow).where(OrderRow.order_id == order_id).values(customer_id="eve"))
    await getattr(model, how)(mend=True)
    orders = folded(model.history.events[:-1])
    assert await rows_of(model.database) == (orders, len(orders))
    await model.catch_up()
    assert await is_the_fold(model)


async def test_nothing_is_found_while_events_are_applied(
    model: ReadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "PAGE", 7)
    applied = 0
    verified = asyncio.Event()

    async def project() -> None:
        nonlocal applied
        while not verified.is_set():
            model.history.grow(3, seed=model.history.head)
            await model.catch_up()
            applied += 3

    projecting = asyncio.create_task(project())
    for _ in range(3):
        assert await model.verify() == []
        assert await model.verify_sample(50) == []
    verified.set()
    await projecting
    assert applied > 30
    assert await is_the_fold(model)


async def test_rows_are_mended_while_events_are_applied(model: ReadModel) -> None:
    order_id = some_order(model)
    done = asyncio.Event()

    async def project() -> None:
        while not done.is_set():
            model.history.grow(2, seed=model.history.head)
            model.history.add(
                OrderItemAdded(order_id=order_id, product_id="tea", quantity=1, unit_price=euros("1"))
            )
            await model.catch_up()

    projecting = asyncio.create_task(project())
    for how in (model.verify, model.verify_sample):
        await model.edit(update(CustomerRow).values(orders=CustomerRow.orders - 5))
        await model.edit(update(OrderRow).where(OrderRow.order_id == order_id).values(customer_id="eve"))
        await how(mend=True)
        await model.verify(mend=True)
    done.set()
    await projecting
    assert await is_the_fold(model)


# --- in the background ----------------------------------------------------------------------------------


async def test_what_is_wrong_is_noticed_in_the_background_and_what_was_mended_is_right_again(
    model: ReadModel,
) -> None:
    patrol = Patrol({"orders": model.verifier}, rows_per_second=1)
    order_id = some_order(model)
    await model.edit(update(OrderRow).where(OrderRow.order_id == order_id).values(customer_id="eve"))
    await until_told(patrol)
    assert patrol.trouble == (
        f"not what the log makes of it: orders {order_id}: customer_id is eve, not ada; "
        "see `twofold projections verify orders`"
    )
    (status,) = await patrol.noted(level)
    assert status.trouble == patrol.trouble
    await model.verify(mend=True)
    await patrol.look("orders", 1)
    assert patrol.trouble == ""
    assert await patrol.noted(level) == await level()


async def test_rows_that_are_missing_or_too_much_are_noticed_in_the_background(model: ReadModel) -> None:
    patrol = Patrol({"orders": model.verifier}, rows_per_second=1)
    strange = {
        "order_id": "x",
        "customer_id": "eve",
        "status": 1,
        "created_at": 1,
        "position": 1,
        "view": b"",
    }
    await model.edit(insert(OrderRow).values(strange))
    await until_told(patrol)
    assert "orders x should not be there" in patrol.trouble
    await model.edit(delete(OrderRow).where(OrderRow.order_id == "x"))
    await patrol.look("orders", 1)
    assert patrol.trouble == ""
    await model.edit(delete(OrderRow))
    await until_told(patrol)
    assert "is missing" in patrol.trouble


async def until_told(patrol: Patrol) -> None:
    for _ in range(300):  # more steps than there are rows
        await patrol.look("orders", 1)
        if patrol.trouble:
            return
    raise AssertionError("every row was looked at, and nothing was noticed")


async def level() -> list[ProjectionStatus]:
    return [ProjectionStatus(name="orders", version=1, state=State.LEVEL)]
