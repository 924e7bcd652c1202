"""Rules across read models, and why a row is as it is, whatever the read store stands on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from shop.orders.v1.events_pb2 import OrderCancelled, OrderItemAdded
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.rules import order_rules
from shop_contexts.orders.sales_projection import order_sales_projection
from shop_contexts.orders.sales_tables import (
    DailyAmountRow,
    DailyOrdersRow,
    MonthlySalesRow,
    UnshippedOrderRow,
)
from shop_contexts.orders.search_projection import order_search_projection
from shop_contexts.orders.search_tables import OrderTextRow
from shop_contexts.orders.tables import OrderRow
from tests.order_histories import History, euros, order_codec
from tests.read_proofs import LOG, ListLog
from twofold_server.database import Database, open_database
from twofold_server.database.sqlite import SqliteDatabase
from twofold_server.errors import InvalidRequest, NotFound, Unavailable
from twofold_server.projections import builds
from twofold_server.projections.fold import Fold
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.proof import rules
from twofold_server.projections.proof.differences import Difference, Kind
from twofold_server.projections.proof.findings import Summary
from twofold_server.projections.proof.proofs import Proofs, Wanted
from twofold_server.projections.redelivery import Redelivery
from twofold_server.projections.schema import prepare
from twofold_server.projections.switching import switch_patiently

PROJECTIONS = [orders_projection, order_sales_projection, order_search_projection]


class Models:
    """The read models of orders and of sales, level with one log."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.history = History()
        self.folds = {
            each.name: Fold(database=database, projection=each, codec=order_codec()) for each in PROJECTIONS
        }
        self.proofs = Proofs(
            database=database,
            projections=PROJECTIONS,
            rules=order_rules,
            codec=order_codec(),
            log=ListLog(self.history),
            fold_of=self.folds.__getitem__,
            notices=ProgressNotices(None),
        )

    async def catch_up(self) -> None:
        """Both apply all that has happened."""
        for fold in self.folds.values():
            await fold.apply(self.history.events)

    async def edit(self, statement: Any) -> None:
        """Somebody changes the read store by hand."""
        await self.database.write(lambda c: c.execute(statement).rowcount)

    async def found(self, projection: str, *, mend: bool = False) -> tuple[list[Difference], Summary]:
        """The differences and the end of a proof."""
        found = [each async for each in self.proofs.verify(Wanted(projection=projection, mend=mend))]
        assert isinstance(found[-1], Summary)
        return [each for each in found if isinstance(each, Difference)], found[-1]


@pytest.fixture
async def models(database_url: str) -> AsyncIterator[Models]:
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, PROJECTIONS))
        models = Models(database)
        for fold in models.folds.values():
            await fold.take_over(LOG)
        models.history.grow(200, seed=1)
        for order in sorted({e.stream_name for e in models.history.events})[:9]:
            models.history.add(OrderCancelled(order_id=order.removeprefix("order-"), reason="no"))
        await models.catch_up()
        yield models


# --- several read models ------------------------------------------------------------------------------


async def test_rules_hold_between_read_models_that_nobody_touched(models: Models) -> None:
    for projection, checked in (("orders", 2), ("order_sales", 1), ("order_search", 0)):
        differences, summary = await models.found(projection)
        assert differences == []
        assert (summary.rules, summary.passed_over) == (checked, ())


async def test_rules_hold_when_one_of_the_read_models_was_built_anew(models: Models) -> None:
    begun = await models.database.write(partial(builds.begin, projection=orders_projection, log_id=LOG))
    fold = Fold(
        database=models.database, projection=orders_projection, codec=order_codec(), build=begun.build
    )
    await fold.take_over(LOG)
    await fold.apply(models.history.events)
    await switch_patiently(models.database, "orders", begun.build)
    models.folds["orders"] = Fold(database=models.database, projection=orders_projection, codec=order_codec())
    await models.folds["orders"].take_over(LOG)
    for projection, checked in (("orders", 2), ("order_sales", 1)):
        differences, summary = await models.found(projection)
        assert differences == []
        assert (summary.rules, summary.passed_over) == (checked, ())


async def test_a_rule_that_does_not_hold_is_named_with_both_numbers(models: Models) -> None:
    await models.edit(update(DailyOrdersRow).values(paid=DailyOrdersRow.paid + 1))
    differences, _ = await models.found("orders")  # its own rows are as they should be
    (found,) = differences
    assert (found.kind, found.rule) == (Kind.RULE, "sales are those of the orders")
    (field,) = found.fields
    assert field.field == "paid orders of all days"
    assert int(field.stored) == int(field.expected) + 1
    assert str(found) == (
        f"rule sales are those of the orders: paid orders of all days is {field.stored}, not {field.expected}"
    )


async def test_orders_are_counted_in_the_log(models: Models) -> None:
    order_id = models.history.events[0].stream_name.removeprefix("order-")
    await models.edit(delete(OrderRow).where(OrderRow.order_id == order_id))
    differences, _ = await models.found("orders")
    told = {each.rule: [field.field for field in each.fields] for each in differences}
    assert told["every order has its row"] == ["rows in orders"]


async def test_rules_are_checked_after_rows_were_mended(models: Models) -> None:
    await models.edit(update(DailyOrdersRow).values(paid=0))
    await models.edit(update(DailyAmountRow).values(amount=1))
    await models.edit(delete(MonthlySalesRow).where(MonthlySalesRow.product_id == "tea"))
    differences, summary = await models.found("order_sales", mend=True)
    assert {each.table for each in differences} == {
        "order_sales_daily",
        "order_sales_daily_amounts",
        "order_sales_monthly",
    }
    assert summary.repaired == len(differences)
    assert (await models.found("order_sales"))[0] == []


async def test_read_models_that_do_not_meet_are_told_and_no_difference(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "PATIENCE", 0.05)
    models.history.created()
    await models.folds["orders"].apply(models.history.events)
    differences, summary = await models.found("orders")
    assert differences == []
    assert summary.passed_over == (
        "rule sales are those of the orders: orders and order_sales did not meet at one position",
    )


async def test_a_table_for_full_text_is_verified_and_mended(models: Models) -> None:
    first = await models.database.read(lambda c: c.execute(select(OrderTextRow.rowid)).scalars().first())
    await models.edit(update(OrderTextRow).where(OrderTextRow.rowid == first).values(words="nonsense"))
    await models.edit(delete(OrderTextRow).where(OrderTextRow.rowid != first))
    differences, _ = await models.found("order_search", mend=True)
    kinds = {(each.kind, each.table) for each in differences}
    assert kinds == {(Kind.CHANGED, "order_search_text"), (Kind.MISSING, "order_search_text")}
    assert (await models.found("order_search"))[0] == []


async def test_text_where_a_number_should_be_is_a_difference_too(models: Models) -> None:
    if not isinstance(models.database, SqliteDatabase):
        pytest.skip("PostgreSQL refuses such values")
    await models.edit(text("UPDATE order_sales_daily_amounts SET amount = 'x'"))
    await models.edit(text("UPDATE orders SET view = 'y', status = 'z'"))
    differences, summary = await models.found("orders")
    fields = {(field.field, field.stored) for each in differences for field in each.fields}
    assert fields == {("status", "z"), ("view", "y")}
    assert "rule sales are those of the orders: it cannot be worked out" in summary.passed_over[0]
    for projection in ("orders", "order_sales"):
        await models.found(projection, mend=True)
        assert (await models.found(projection))[0] == []


# --- events that were left out ---------------------------------------------------------------------------


async def test_what_waits_in_the_dead_letters_is_not_expected(models: Models) -> None:
    fold = models.folds["orders"]
    order_id = models.history.created()
    await fold.park(models.history.events[-1], attempts=5, error="no")
    models.history.paid(order_id)
    await models.catch_up()
    differences, summary = await models.found("orders")
    assert differences == []
    assert summary.passed_over == (
        "rule sales are those of the orders: "
        "not the same events are parked or skipped in orders and order_sales",
    )


async def test_what_was_skipped_is_not_expected_and_what_came_after_it_is(models: Models) -> None:
    fold = models.folds["orders"]
    order_id = models.history.created()
    await models.catch_up()
    models.history.paid(order_id)
    paid = models.history.events[-1]
    await fold.park(paid, attempts=5, error="no")
    models.history.add(OrderItemAdded(order_id=order_id, product_id="a", quantity=1, unit_price=euros("1")))
    await models.catch_up()
    redelivery = Redelivery(fold=fold, log=ListLog(models.history))
    await redelivery.skip(paid.stream_name, paid.position, who="ada", why="it never was")
    differences, _ = await models.found("orders")
    assert [each.table for each in differences if each.kind is not Kind.RULE] == []
    story = await models.proofs.explain("orders", "orders", [order_id])
    assert [step.event.position for step in story.steps] == [paid.position - 1, paid.position + 1]


async def test_rows_of_another_version_are_not_judged(models: Models) -> None:
    newer = Proofs(
        database=models.database,
        projections=[replace(orders_projection, version=2)],
        rules=order_rules,
        codec=order_codec(),
        log=ListLog(models.history),
        fold_of=models.folds.__getitem__,
        notices=ProgressNotices(None),
    )
    for wanted in (Wanted(projection="orders"), Wanted(projection="orders", sample=5)):
        with pytest.raises(Unavailable, match="queries read version 1 of orders, this is version 2"):
            [each async for each in newer.verify(wanted)]


# --- explaining -----------------------------------------------------------------------------------------


async def test_a_row_is_explained_by_the_events_that_made_it(models: Models) -> None:
    order_id = models.history.created(customer_id="bob")
    models.history.grow(20, seed=3)
    models.history.paid(order_id)
    await models.catch_up()
    story = await models.proofs.explain("orders", "", [order_id])
    first, second = story.steps
    assert first.event.type_name == "shop.orders.v1.OrderCreated"
    made = {each.field: (each.before, each.after) for each in first.changes}
    assert made["customer_id"] == ("", "bob")
    assert made["view.shipping_address.city"] == ("", "London")
    changed = {each.field: (each.before, each.after) for each in second.changes}
    assert changed["view.status"] == ("ORDER_STATUS_PENDING", "ORDER_STATUS_PAID")
    assert changed["view.version"] == ("1", "2")
    assert "customer_id" not in changed
    assert ("customer_id", "bob") in story.row


async def test_a_counter_is_explained_by_all_streams_that_feed_it(models: Models) -> None:
    first = models.history.created(customer_id="bob")
    models.history.grow(120, seed=3)
    second = models.history.created(customer_id="bob")
    await models.catch_up()
    story = await models.proofs.explain("orders", "order_customers", ["bob"])
    assert [step.event.stream_name for step in story.steps] == [f"order-{first}", f"order-{second}"]
    last = [(each.field, each.before, each.after) for each in story.steps[-1].changes]
    assert last == [("orders", "1", "2")]
    assert story.row == [("customer_id", "bob"), ("orders", "2")]


async def test_a_row_that_is_gone_is_explained_as_well(models: Models) -> None:
    order_id = models.history.created()
    models.history.paid(order_id)
    models.history.shipped(order_id)
    await models.catch_up()
    story = await models.proofs.explain("order_sales", UnshippedOrderRow.__tablename__, [order_id])
    assert story.row == []
    assert len(story.steps) == 3
    assert ("order_id", order_id, "") in [(e.field, e.before, e.after) for e in story.steps[-1].changes]


async def test_a_key_of_several_columns_is_given_in_parts(models: Models) -> None:
    month = await models.database.read(lambda c: c.execute(MonthlySalesRow.__table__.select()).first())
    assert month is not None
    key = [str(month.month), month.product_id, month.currency]
    story = await models.proofs.explain("order_sales", "order_sales_monthly", key)
    assert story.steps
    with pytest.raises(
        InvalidRequest, match="the key of table order_sales_monthly is month, product_id, currency"
    ):
        await models.proofs.explain("order_sales", "order_sales_monthly", ["202611"])
    with pytest.raises(InvalidRequest, match="is no key of table order_sales_monthly"):
        await models.proofs.explain("order_sales", "order_sales_monthly", ["May", "a", "EUR"])


async def test_what_is_not_there_is_named(models: Models) -> None:
    with pytest.raises(NotFound, match="it has orders, order_customers"):
        await models.proofs.explain("orders", "nothing", ["x"])
    with pytest.raises(NotFound, match="there is no projection nothing; there are order_sales, order"):
        models.proofs.verify(Wanted(projection="nothing"))
