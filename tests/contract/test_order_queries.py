"""What can be asked about orders, whatever the read store stands on."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest

from shop.orders.v1.query_service_pb2 import (
    GetOrderRequest,
    GetOrderResponse,
    ListCustomerOrdersRequest,
    ListCustomerOrdersResponse,
)
from shop.orders.v1.values_pb2 import OrderStatus
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.queries import get_orders, list_customer_orders
from shop_contexts.orders.tables import OrderRow
from tests.order_histories import START, History, folded, item, order_codec
from twofold_server.database import Database, open_database
from twofold_server.errors import InvalidRequest, NotFound
from twofold_server.modelling import Lookup
from twofold_server.projections.checkpoints import read_checkpoint, read_standing
from twofold_server.projections.fold import Fold
from twofold_server.projections.schema import prepare

Page = Callable[..., Awaitable[ListCustomerOrdersResponse]]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, [orders_projection]))
        yield database


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def page(database: Database, history: History) -> Page:
    """Lists orders after folding what has happened."""
    fold = Fold(database=database, projection=orders_projection, codec=order_codec())

    async def ask(customer_id: str = "ada", **fields: object) -> ListCustomerOrdersResponse:
        if not fold.is_mine:
            await fold.take_over(str(uuid.uuid4()))
        await fold.apply(history.events)
        request = ListCustomerOrdersRequest(customer_id=customer_id, **fields)  # type: ignore[arg-type]
        response = await database.read(partial(list_customer_orders, request))
        assert isinstance(response, ListCustomerOrdersResponse)
        return response

    return ask


def ids(page: ListCustomerOrdersResponse) -> list[str]:
    return [order.order_id for order in page.orders]


# --- one order --------------------------------------------------------------------------------------


async def test_orders_are_looked_up_together(database: Database, history: History, page: Page) -> None:
    known = [history.created() for _ in range(5)]
    history.paid(known[2])
    await page()
    missing = str(uuid.uuid4())
    asked = [known[2], missing, known[0], known[2]]
    answers = await database.read(partial(get_orders, [GetOrderRequest(order_id=o) for o in asked]))
    shown = folded(history.events)
    assert isinstance(answers[1], NotFound)
    assert (answers[1].reason, answers[1].metadata) == ("ORDER_NOT_FOUND", {"order_id": missing})
    for place in (0, 2, 3):
        assert answers[place] == GetOrderResponse(order=shown[asked[place]])


@pytest.mark.parametrize("count", [1, 3, 499])
async def test_any_number_of_orders_is_looked_up(database: Database, history: History, count: int) -> None:
    requests = [GetOrderRequest(order_id=str(uuid.uuid4())) for _ in range(count)]
    answers = await database.read(partial(get_orders, requests))
    assert [type(answer) for answer in answers] == [NotFound] * count


# --- a customer's orders ------------------------------------------------------------------------------


async def test_the_newest_order_comes_first(history: History, page: Page) -> None:
    created = [history.created() for _ in range(3)]
    history.created(customer_id="bob")
    found = await page()
    assert ids(found) == created[::-1]
    assert (found.total_size, found.next_page_token) == (3, "")


async def test_a_summary_shows_what_a_list_needs(history: History, page: Page) -> None:
    order_id = history.created(items=[item("tea", 2, "3.50"), item("pot", 1, "20")])
    history.paid(order_id)
    [summary] = (await page()).orders
    order = folded(history.events)[order_id]
    assert summary.item_count == 2
    for field in ("order_id", "customer_id", "status", "total", "create_time", "update_time", "version"):
        assert getattr(summary, field) == getattr(order, field)


async def test_pages_meet_without_overlap_or_gap(history: History, page: Page) -> None:
    created = [history.created(recorded_at=START + n // 3) for n in range(10)]  # several at one moment
    seen: list[str] = []
    token = ""
    while True:
        found = await page(page_size=3, page_token=token)
        seen += ids(found)
        assert found.total_size == 10
        token = found.next_page_token
        if not token:
            break
    by_time = sorted(enumerate(created), key=lambda pair: (pair[0] // 3, pair[1]), reverse=True)
    assert seen == [order_id for _, order_id in by_time]


async def test_an_order_that_comes_between_two_pages_moves_nothing(history: History, page: Page) -> None:
    created = [history.created() for _ in range(4)]
    first = await page(page_size=2)
    history.created()
    second = await page(page_size=2, page_token=first.next_page_token)
    assert ids(first) + ids(second) == created[::-1]
    assert second.total_size == 5


async def test_a_page_that_holds_the_last_order_is_the_last_page(history: History, page: Page) -> None:
    for _ in range(4):
        history.created()
    first = await page(page_size=2)
    assert (await page(page_size=2, page_token=first.next_page_token)).next_page_token == ""


async def test_orders_of_one_status(history: History, page: Page) -> None:
    created = [history.created() for _ in range(6)]
    for order_id in created[::2]:
        history.paid(order_id)
    paid = OrderStatus.ORDER_STATUS_PAID
    first = await page(status=paid, page_size=2)
    second = await page(status=paid, page_size=2, page_token=first.next_page_token)
    assert ids(first) + ids(second) == created[::2][::-1]
    assert first.total_size == second.total_size == 3


async def test_orders_are_skipped_after_the_token(history: History, page: Page) -> None:
    created = [history.created() for _ in range(8)]
    first = await page(page_size=2, skip=1)
    second = await page(page_size=2, skip=2, page_token=first.next_page_token)
    assert ids(first) == created[::-1][1:3]
    assert ids(second) == created[::-1][5:7]


async def test_a_customer_without_orders_has_an_empty_list(page: Page) -> None:
    assert await page("nobody") == ListCustomerOrdersResponse()


async def test_a_page_has_fifty_orders_and_never_more_than_a_thousand(history: History, page: Page) -> None:
    for _ in range(1001):
        history.created()
    assert len((await page()).orders) == 50
    assert len((await page(page_size=5000)).orders) == 1000


async def test_a_token_of_another_question_is_refused(history: History, page: Page) -> None:
    for customer_id in ("ada", "ada", "bob"):
        history.created(customer_id=customer_id)
    token = (await page(page_size=1)).next_page_token
    for changed in ({"customer_id": "bob"}, {"status": OrderStatus.ORDER_STATUS_PAID}):
        with pytest.raises(InvalidRequest, match="belongs to another query"):
            await page(page_token=token, **changed)
    with pytest.raises(InvalidRequest, match="page_token"):
        await page(page_token="nonsense")


async def test_a_token_keeps_its_worth_when_the_page_size_changes(history: History, page: Page) -> None:
    created = [history.created() for _ in range(6)]
    token = (await page(page_size=1)).next_page_token
    assert ids(await page(page_size=3, page_token=token)) == created[::-1][1:4]


# --- how rows and checkpoints are read --------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 100, 1000])
async def test_a_lookup_finds_the_rows_that_there_are(
    database: Database, history: History, page: Page, count: int
) -> None:
    known = [history.created(customer_id=f"c-{number}") for number in range(count)]
    await page()
    lookup = Lookup(OrderRow.order_id, OrderRow.customer_id, OrderRow.position)
    found = await database.read(lambda c: lookup(c, [*known, "no such order"]))
    assert found == {order_id: (f"c-{n}", n + 1) for n, order_id in enumerate(known)}
    assert await database.read(lambda c: lookup(c, [])) == {}


async def test_what_an_answer_tells_of_a_build_is_what_its_checkpoint_says(
    database: Database, history: History, page: Page
) -> None:
    assert await database.read(lambda c: read_standing(c, "orders")) is None
    history.grow(7, seed=1)
    await page()
    told, whole = await database.read(lambda c: (read_standing(c, "orders"), read_checkpoint(c, "orders")))
    assert told is not None
    assert told._asdict() == {name: getattr(whole, name) for name in told._fields}
