"""What orders are found by, whatever the read store stands on: exactly what a look at each of them gives."""

from __future__ import annotations

import random
import unicodedata
import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.query_service_pb2 import OrderFilter, SearchOrdersRequest, SearchOrdersResponse
from shop.orders.v1.values_pb2 import Address, OrderStatus
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.search_projection import order_search_projection
from shop_contexts.orders.search_queries import search_orders
from tests.order_histories import History, euros, folded, item, order_codec
from tests.random_texts import random_text
from twofold_server.database import Database, open_database
from twofold_server.errors import InvalidRequest
from twofold_server.modelling import text_search
from twofold_server.projections import builds
from twofold_server.projections.fold import Fold
from twofold_server.projections.schema import prepare

PATHS = {"walked to the end": 5_000, "walked or by the index": 7, "by the index": 1}
"""How far the list is walked before the index is asked."""
FEW = {"walked to the end": -1, "walked or by the index": 0, "by the index": 1_000}
"""How many rows the index may find at once."""


class Side:
    """A read model that is searched."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.history = History()
        self.log_id = str(uuid.uuid4())
        self._fold = Fold(database=database, projection=order_search_projection, codec=order_codec())

    def order(
        self, *products: str, customer_id: str = "ada", recorded_at: int | None = None, **to: str
    ) -> str:
        """An order begins."""
        order_id = str(uuid.uuid4())
        usual = {"recipient": "Ada", "line1": "1 Main St", "city": "London", "country_code": "GB"}
        fact = facts.OrderCreated(
            order_id=order_id,
            customer_id=customer_id,
            items=[item(product, 1, "2") for product in products or ("tea",)],
            shipping_address=Address(**(usual | to)),
        )
        self.history.add(fact, recorded_at=recorded_at)
        return order_id

    async def page(self, query: str = "", **fields: Any) -> SearchOrdersResponse:
        """SearchOrders, after folding what has happened."""
        if not self._fold.is_mine:
            await self._fold.take_over(self.log_id)
        await self._fold.apply(self.history.events)
        request = SearchOrdersRequest(query=query, **fields)
        return await self.database.read(partial(search_orders, request))

    async def ids(self, query: str = "", **fields: Any) -> list[str]:
        """The orders of all pages."""
        found: list[str] = []
        token = ""
        while True:
            page = await self.page(query, page_token=token, **fields)
            found += [order.order_id for order in page.orders]
            token = page.next_page_token
            if not token:
                break
        return found


@pytest.fixture
async def side(database_url: str) -> AsyncIterator[Side]:
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, [order_search_projection]))
        yield Side(database)


@pytest.fixture(params=PATHS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way in which a page can be found."""
    monkeypatch.setattr(text_search, "WALK", PATHS[request.param])
    monkeypatch.setattr(text_search, "FEW", FEW[request.param])
    name: str = request.param
    return name


def plain(text: str) -> list[str]:
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    shown = (" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in letters)
    return "".join(c for c in shown if unicodedata.category(c) != "Mn").split()


def matches(order: Order, query: str) -> bool:
    to = order.shipping_address
    texts = [order.order_id, order.customer_id, *(i.product_id for i in order.items)]
    texts += [to.recipient, to.line1, to.line2, to.city, to.region, to.postal_code, to.country_code]
    words = [word for text in texts for word in plain(text)]
    return all(
        any(part in word if len(part) > 2 else word.startswith(part) for word in words)
        for part in plain(query)
    )


async def test_an_order_is_found_by_any_piece_of_what_it_says(side: Side, way: str) -> None:
    wanted = side.order(
        *("blue-teapot", "cup"),
        customer_id="zoe.smith",
        recipient="Zoë O'Neill",
        line1="12 Baker Street",
        line2='c/o "The Inn"',
        city="Ålesund",
        region="Møre",
        postal_code="N-6002",
        country_code="NO",
    )
    for _ in range(3):
        side.order()
    for query in (
        *(wanted, wanted[:8], wanted[5:17].upper(), "zoe", "ZOË", "zoe.smith", "smith", "o'neill", "neil"),
        *("teapot", "TEAPOT blue", "baker street", "street baker", "bak", "ker", "12", "1", "no", "c/o"),
        *('"the', 'inn"', "alesund", "Ålesund", "møre", "6002", "n-", "  cup  "),
    ):
        assert wanted in await side.ids(query), query
    for query in ("teapots", "zoe london", "o’neill", "mith12", "eill 99", "uesund"):
        assert wanted not in await side.ids(query), query


async def test_products_that_come_and_go_are_followed(side: Side, way: str) -> None:
    order_id = side.order("tea")
    side.order("cup")
    side.history.add(
        facts.OrderItemAdded(order_id=order_id, product_id="teapot", quantity=1, unit_price=euros("1"))
    )
    assert await side.ids("teapot") == [order_id]
    side.history.add(facts.OrderItemRemoved(order_id=order_id, product_id="teapot"))
    assert await side.ids("teapot") == []
    assert await side.ids("tea") == [order_id]


HOSTILE = [
    *(
        '"',
        '""',
        '"""',
        "'",
        "';--",
        "*",
        "tea*",
        "tea OR cup",
        "tea NOT cup",
        "NEAR(tea cup)",
        "NEAR",
        "AND",
    ),
    *(
        "-tea",
        "+tea",
        "^tea",
        "words:tea",
        "rowid:1",
        "{words} : tea",
        "(",
        ")",
        "()",
        "tea)",
        "%",
        "_",
        "te_",
    ),
    *(
        "\\",
        "\\'",
        "a & b",
        "a | !b",
        "tea:*",
        "<->",
        "$1",
        ":1",
        ":groups",
        "?",
        "%s",
        "%(x)s",
        "{}",
        "ab\n'",
    ),
    *(
        "\t",
        "\u0301",
        "a\u0301",
        "\u200b",
        "\ufeff",
        "ﬀ",
        "İ",
        "ẞ",
        "𝔘𝔫",
        "日本語",
        "🫖",
        "\x01\x02",
        "\x7f" * 5,
    ),
    *("a" * 200, "ab " * 66, " ".join(chr(97 + n % 26) * 3 for n in range(50)), "½", "´", "￿"),
]


async def test_no_text_is_an_error_and_no_character_has_a_meaning(side: Side, way: str) -> None:
    dice = random.Random(5)
    queries = HOSTILE + [random_text(dice) for _ in range(150)]
    for text in queries:
        side.order(recipient=text[:150] or "-", line1=dice.choice(queries)[:100] or "-")
    await side.page()
    orders = folded(side.history.events)
    for query in dice.sample(queries, 60) + HOSTILE:
        expected = {key for key, order in orders.items() if matches(order, query)}
        assert set(await side.ids(query, page_size=1000)) == expected, repr(query)


async def test_pages_meet_in_every_order(side: Side, way: str) -> None:
    for n in range(40):
        order_id = side.order("tea" if n % 3 else "cup", recorded_at=1_790_000_000_000_000 + n // 4)
        price = Money(currency_code="EUR", units=n % 5)
        side.history.add(
            facts.OrderItemAdded(order_id=order_id, product_id="x", quantity=1, unit_price=price)
        )
    await side.page()
    orders = list(folded(side.history.events).values())
    for query, those in (("", orders), ("tea", [o for o in orders if matches(o, "tea")]), ("cup xyz", [])):
        by_time = [order.order_id for order in those]
        by_total = [order.order_id for order in sorted(those, key=lambda order: order.total.units)]
        for order_by, expected in (
            *(("", by_time[::-1]), ("create_time desc", by_time[::-1]), ("create_time", by_time)),
            *(("total desc", by_total[::-1]), ("total", by_total), ("  total   desc ", None)),
        ):
            found = await side.ids(query, order_by=order_by, page_size=7)
            assert found == (by_total[::-1] if expected is None else expected), (query, order_by)
    first = await side.page("tea", page_size=3)
    skipped = await side.page("tea", page_size=2, skip=1, page_token=first.next_page_token)
    ids = [order.order_id for order in orders if matches(order, "tea")][::-1]
    assert [order.order_id for order in skipped.orders] == ids[4:6]


async def test_matches_are_counted_or_there_are_said_to_be_more(
    side: Side, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_search, "COUNTED", 30)
    for n in range(40):
        side.order("tea" if n % 10 else "cup")
    for query, count in (("", 40), ("tea", 36), ("cup", 4), ("hat", 0)):
        page = await side.page(query, page_size=2)
        assert page.total_size == count or (page.total_size_is_minimum and page.total_size < count)
    assert (await side.page("cup")).total_size == 4
    assert not (await side.page("cup")).total_size_is_minimum


async def test_filters_hold_together_and_with_words(side: Side, way: str) -> None:
    at = 1_790_000_000_000_000
    first = side.order("tea", customer_id="ada", recorded_at=at)
    second = side.order("tea", customer_id="bob", recorded_at=at + 1, country_code="DE")
    third = side.order("tea", "cup", customer_id="bob", recorded_at=at + 2)
    side.history.paid(second)
    moment = Timestamp()
    moment.FromMicroseconds(at + 1)
    for filtered, expected in (
        ({"customer_id": "bob"}, [third, second]),
        ({"status": OrderStatus.ORDER_STATUS_PAID}, [second]),
        ({"customer_id": "ada", "status": OrderStatus.ORDER_STATUS_PAID}, []),
        ({"country_code": "GB"}, [third, first]),
        ({"created_from": moment}, [third, second]),
        ({"created_to": moment}, [first]),
        ({"total_from": euros("3")}, [third]),
        ({"total_to": euros("2")}, [second, first]),
        ({"total_from": euros("2.000000001"), "total_to": euros("4")}, [third]),
        ({"total_from": Money(currency_code="USD")}, []),
        ({"created_to": Timestamp(seconds=2**62)}, [third, second, first]),
    ):
        for query in ("", "tea"):
            assert await side.ids(query, filter=OrderFilter(**filtered)) == expected
    assert await side.ids("cup", filter=OrderFilter(customer_id="bob", country_code="DE")) == []


async def test_a_summary_is_that_of_the_order(side: Side) -> None:
    order_id = side.order("tea", "cup")
    side.history.paid(order_id)
    [shown] = (await side.page(order_id)).orders
    order = folded(side.history.events)[order_id]
    assert shown.item_count == 2
    for field in ("order_id", "customer_id", "status", "total", "create_time", "update_time", "version"):
        assert getattr(shown, field) == getattr(order, field)


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("order_by", {"order_by": "customer_id"}),
        ("order_by", {"order_by": "total; drop table orders"}),
        ("order_by", {"order_by": "total,create_time"}),
        (
            "filter.total_to",
            {"filter": OrderFilter(total_from=euros("1"), total_to=Money(currency_code="USD"))},
        ),
    ],
)
async def test_a_wrong_order_or_filter_is_refused_by_its_field(
    side: Side, field: str, asked: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await side.page(**asked)
    assert [name for name, _ in refused.value.violations] == [field]


async def test_a_token_of_another_search_is_refused(side: Side) -> None:
    for _ in range(2):
        side.order()
    token = (await side.page("tea", page_size=1)).next_page_token
    for changed in ({"query": "te"}, {"query": "tea", "order_by": "total"}):
        with pytest.raises(InvalidRequest, match="another query"):
            await side.page(page_token=token, **changed)


async def test_a_build_beside_is_filled_and_switched_to_with_its_texts(side: Side, way: str) -> None:
    first, second = side.order("teapot"), side.order("cup")
    assert await side.ids("teapo") == [first]
    begun = await side.database.write(lambda c: builds.begin(c, order_search_projection, side.log_id))
    beside = Fold(
        database=side.database, projection=order_search_projection, codec=order_codec(), build=begun.build
    )
    await beside.take_over(side.log_id)
    side.history.add(facts.OrderItemRemoved(order_id=second, product_id="cup"))
    side.history.add(
        facts.OrderItemAdded(order_id=second, product_id="teapot", quantity=1, unit_price=euros("1"))
    )
    assert await side.ids("teapo") == [second, first]
    await beside.apply(side.history.events)
    await side.database.write(lambda c: builds.switch(c, "order_search", begun.build))
    request = SearchOrdersRequest(query="teapo")
    found = await side.database.read(partial(search_orders, request))
    assert [order.order_id for order in found.orders] == [second, first]
