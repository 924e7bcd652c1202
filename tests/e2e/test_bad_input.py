"""Whatever is wrong with a request: its caller is told what, and nothing changes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.type.date_pb2 import Date

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1.query_service_pb2 import (
    GetDailyStatisticsRequest,
    GetMonthlySalesRequest,
    GetOrderHistoryRequest,
    GetOrderRequest,
    ListCustomerOrdersRequest,
    OrderFilter,
    SearchOrdersRequest,
)
from shop.orders.v1.values_pb2 import Address, OrderStatus
from tests.e2e.refusals import forbidden, nothing_changes, refusal, wrong
from tests.e2e.shop import DOMAIN, ENGINE, HOME, Shop, a_payment, an_order, item, money, new_id
from tests.e2e.systems import System
from twofold.v1.command_pb2 import CommandOptions
from twofold.v1.event_service_pb2 import ReadEventsRequest, ReadStreamRequest, SubscribeRequest
from twofold.v1.reading_pb2 import ON_STALE_FAIL, ReadOptions
from twofold.v1.tokens_pb2 import ConsistencyToken, LogPosition

LIMIT = 4 * 1024 * 1024
ANOTHER_LOG = "0192f5d0-0000-7000-8000-000000000000"
CREATE_ORDER = "/shop.orders.v1.CommandService/CreateOrder"
GET_ORDER = "/shop.orders.v1.QueryService/GetOrder"


# --- fields --------------------------------------------------------------------------------------


def address(**fields: str) -> Address:
    changed = Address()
    changed.CopyFrom(HOME)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


BAD_ORDERS: dict[str, tuple[commands.CreateOrderRequest, list[str]]] = {
    "no items": (commands.CreateOrderRequest(customer_id="ada", shipping_address=HOME), ["items"]),
    "1,001 items": (an_order(*(item(f"p{n}") for n in range(1001))), ["items"]),
    "quantity 0": (an_order(item(quantity=0)), ["items[0].quantity"]),
    "quantity -1": (an_order(item(quantity=-1)), ["items[0].quantity"]),
    "quantity 1,000,001": (an_order(item(), item("x", 1_000_001)), ["items[1].quantity"]),
    "a negative price": (an_order(item(price=money(-1))), ["items[0].unit_price"]),
    "a price a bit below zero": (an_order(item(price=money(0, -1))), ["items[0].unit_price.nanos"]),
    "a price that is no fraction": (an_order(item(price=money(0, 10**9))), ["items[0].unit_price.nanos"]),
    "a price past all bounds": (an_order(item(price=money(10**9, 1))), ["items[0].unit_price"]),
    "a currency that is none": (
        an_order(item(price=money(1, 0, "euro"))),
        ["items[0].unit_price.currency_code"],
    ),
    "a malformed order id": (an_order(order_id="42"), ["order_id"]),
    "an order id in capitals": (an_order(order_id=new_id().upper()), ["order_id"]),
    "a malformed request id": (an_order(request_id="again"), ["request_id"]),
    "no customer": (an_order(customer_id=""), ["customer_id"]),
    "a customer of strange letters": (an_order(customer_id="a\nb"), ["customer_id"]),
    "no address": (an_order(shipping_address=None), ["shipping_address"]),
    "a country that is none": (
        an_order(shipping_address=address(country_code="Utopia")),
        ["shipping_address.country_code"],
    ),
    "a negative expected version": (
        an_order(options=CommandOptions(expected_version=-1)),
        ["options.expected_version"],
    ),
    "several things": (
        an_order(item(quantity=0, product=""), customer_id="", request_id="x"),
        ["customer_id", "items[0].product_id", "items[0].quantity", "request_id"],
    ),
}


@pytest.mark.parametrize("what", BAD_ORDERS)
async def test_an_order_with_a_wrong_field_is_refused_and_each_field_is_named(shop: Shop, what: str) -> None:
    order, fields = BAD_ORDERS[what]
    async with nothing_changes(shop):
        assert sorted(await wrong(shop.commands.CreateOrder(order))) == fields


async def test_an_order_in_two_currencies_is_refused(shop: Shop) -> None:
    order = an_order(
        item("tea"), item("cup", price=money(1, 0, "USD")), item("pot", price=money(1, 0, "GBP"))
    )
    async with nothing_changes(shop):
        assert await wrong(shop.commands.CreateOrder(order), "MIXED_CURRENCIES") == [
            "items[1].unit_price.currency_code",
            "items[2].unit_price.currency_code",
        ]


BAD_CALLS: dict[str, tuple[Callable[[Shop], Any], list[str]]] = {
    "AddOrderItem": (
        lambda shop: shop.commands.AddOrderItem(
            commands.AddOrderItemRequest(order_id=new_id(), product_id="tea", quantity=0, unit_price=money(1))
        ),
        ["quantity"],
    ),
    "RemoveOrderItem": (
        lambda shop: shop.commands.RemoveOrderItem(
            commands.RemoveOrderItemRequest(order_id="1", product_id="x")
        ),
        ["order_id"],
    ),
    "ChangeItemQuantity": (
        lambda shop: shop.commands.ChangeItemQuantity(
            commands.ChangeItemQuantityRequest(order_id=new_id(), product_id="tea", quantity=2_000_000)
        ),
        ["quantity"],
    ),
    "PayOrder": (
        lambda shop: shop.commands.PayOrder(commands.PayOrderRequest(order_id=new_id())),
        ["payment_reference"],
    ),
    "ShipOrder": (
        lambda shop: shop.commands.ShipOrder(commands.ShipOrderRequest(order_id=new_id())),
        ["carrier", "tracking_number"],
    ),
    "CompleteOrder": (
        lambda shop: shop.commands.CompleteOrder(commands.CompleteOrderRequest()),
        ["order_id"],
    ),
    "CancelOrder": (
        lambda shop: shop.commands.CancelOrder(
            commands.CancelOrderRequest(order_id=new_id(), reason="x" * 501)
        ),
        ["reason"],
    ),
    "GetOrder": (lambda shop: shop.queries.GetOrder(GetOrderRequest(order_id="1")), ["order_id"]),
    "GetOrder, too patient": (
        lambda shop: shop.queries.GetOrder(
            GetOrderRequest(order_id=new_id(), read_options=ReadOptions(max_wait=Duration(seconds=301)))
        ),
        ["read_options.max_wait"],
    ),
    "ListCustomerOrders": (
        lambda shop: shop.queries.ListCustomerOrders(ListCustomerOrdersRequest(page_size=-1, skip=10_001)),
        ["customer_id", "page_size", "skip"],
    ),
    "ListCustomerOrders, unknown status": (
        lambda shop: shop.queries.ListCustomerOrders(
            ListCustomerOrdersRequest(customer_id="ada", status=OrderStatus.ValueType(99))
        ),
        ["status"],
    ),
    "GetMonthlySales": (
        lambda shop: shop.queries.GetMonthlySales(
            GetMonthlySalesRequest(year=10_000, product_ids=["tea", "no product"], page_size=-1, skip=-1)
        ),
        ["page_size", "product_ids[1]", "skip", "year"],
    ),
    "GetMonthlySales, no such month": (
        lambda shop: shop.queries.GetMonthlySales(
            GetMonthlySalesRequest(from_month=Date(year=2026, month=13))
        ),
        ["from_month"],
    ),
    "GetOrderHistory": (
        lambda shop: shop.queries.GetOrderHistory(
            GetOrderHistoryRequest(order_id="1", version=-1, page_size=-1, skip=-1)
        ),
        ["order_id", "page_size", "skip", "version"],
    ),
    "SearchOrders": (
        lambda shop: shop.queries.SearchOrders(
            SearchOrdersRequest(
                query="x" * 201,
                filter=OrderFilter(
                    customer_id="?",
                    country_code="gb",
                    total_from=money(1, currency="eur"),
                    total_to=money(-1),
                ),
                page_size=-1,
                skip=10_001,
            )
        ),
        [
            "filter.country_code",
            "filter.customer_id",
            "filter.total_from.currency_code",
            "filter.total_to",
            "page_size",
            "query",
            "skip",
        ],
    ),
    "SearchOrders, no such order": (
        lambda shop: shop.queries.SearchOrders(SearchOrdersRequest(order_by="shoe_size")),
        ["order_by"],
    ),
    "GetDailyStatistics": (
        lambda shop: shop.queries.GetDailyStatistics(GetDailyStatisticsRequest(top_products=101)),
        ["from_day", "to_day", "top_products"],
    ),
    "GetDailyStatistics, no such day": (
        lambda shop: shop.queries.GetDailyStatistics(
            GetDailyStatisticsRequest(
                from_day=Date(year=2026, month=2, day=1), to_day=Date(year=2026, month=2, day=29)
            )
        ),
        ["to_day"],
    ),
}


REASONS = {
    "GetMonthlySales, no such month": "INVALID_PERIOD",
    "GetDailyStatistics, no such day": "INVALID_PERIOD",
    "SearchOrders, no such order": "INVALID_ORDER_BY",
}
"""Of fields that keep the declared rules; of all others it is INVALID_REQUEST."""


@pytest.mark.parametrize("rpc", BAD_CALLS)
async def test_every_rpc_names_the_fields_that_are_wrong(shop: Shop, rpc: str) -> None:
    call, fields = BAD_CALLS[rpc]
    async with nothing_changes(shop):
        assert sorted(await wrong(call(shop), REASONS.get(rpc, "INVALID_REQUEST"))) == fields


async def test_reading_the_log_from_before_its_beginning_is_refused(shop: Shop) -> None:
    events = shop.events
    for call in (
        events.ReadEvents(ReadEventsRequest(after_position=-1)),
        events.Subscribe(SubscribeRequest(after_position=-1)),
    ):
        assert await wrong(first(call), domain=ENGINE) == ["after_position"]
    assert await wrong(first(events.ReadStream(ReadStreamRequest())), domain=ENGINE) == ["stream_name"]


async def first(call: AsyncIterable[Any]) -> Any:
    async for answer in call:
        return answer
    return None


# --- what does not exist, or stands otherwise ----------------------------------------------------


async def test_an_unknown_order_is_not_found_by_any_command_or_query(shop: Shop) -> None:
    unknown = new_id()
    calls = shop.commands
    async with nothing_changes(shop):
        for call in (
            calls.PayOrder(a_payment(unknown)),
            calls.CompleteOrder(commands.CompleteOrderRequest(order_id=unknown)),
            calls.CancelOrder(commands.CancelOrderRequest(order_id=unknown)),
            shop.queries.GetOrder(GetOrderRequest(order_id=unknown)),
        ):
            error = await refusal(call)
            assert error.code == grpc.StatusCode.NOT_FOUND
            assert (error.reason, error.domain) == ("ORDER_NOT_FOUND", DOMAIN)
            assert unknown in "".join(error.metadata.values())


async def test_an_unknown_stream_is_not_found(shop: Shop) -> None:
    error = await refusal(first(shop.events.ReadStream(ReadStreamRequest(stream_name="order-1"))))
    assert error.code == grpc.StatusCode.NOT_FOUND
    assert (error.reason, error.domain) == ("STREAM_NOT_FOUND", ENGINE)
    assert error.metadata == {"stream_name": "order-1"}


async def test_an_order_that_exists_is_not_created_again(shop: Shop) -> None:
    order_id = await shop.create()
    async with nothing_changes(shop):
        error = await refusal(shop.commands.CreateOrder(an_order(order_id=order_id)))
    assert error.code == grpc.StatusCode.ALREADY_EXISTS
    assert (error.reason, error.domain) == ("ORDER_ALREADY_EXISTS", DOMAIN)


async def test_a_command_that_the_state_forbids_says_which_state(shop: Shop) -> None:
    order_id = await shop.create()
    await shop.commands.PayOrder(a_payment(order_id))
    calls = shop.commands
    async with nothing_changes(shop):
        violation = await forbidden(calls.PayOrder(a_payment(order_id)), "ORDER_NOT_PENDING")
        assert "PAID" in violation.description
        await forbidden(
            calls.CompleteOrder(commands.CompleteOrderRequest(order_id=order_id)), "ORDER_NOT_SHIPPED"
        )
        await forbidden(
            calls.RemoveOrderItem(commands.RemoveOrderItemRequest(order_id=order_id, product_id="tea")),
            "ORDER_NOT_PENDING",
        )


async def test_a_pending_order_keeps_its_last_item_its_currency_and_its_bounds(shop: Shop) -> None:
    order_id = await shop.create(item("tea", 999_999))
    add, remove = shop.commands.AddOrderItem, shop.commands.RemoveOrderItem
    ship = commands.ShipOrderRequest(order_id=order_id, carrier="c", tracking_number="1")

    def adding(quantity: int, currency: str = "EUR") -> commands.AddOrderItemRequest:
        price = money(1, 0, currency)
        return commands.AddOrderItemRequest(
            order_id=order_id, product_id="tea", quantity=quantity, unit_price=price
        )

    async with nothing_changes(shop):
        await forbidden(
            remove(commands.RemoveOrderItemRequest(order_id=order_id, product_id="tea")), "LAST_ITEM"
        )
        await forbidden(
            remove(commands.RemoveOrderItemRequest(order_id=order_id, product_id="cup")), "ITEM_NOT_IN_ORDER"
        )
        await forbidden(add(adding(1, "USD")), "CURRENCY_MISMATCH")
        await forbidden(add(adding(2)), "QUANTITY_TOO_LARGE")
        await forbidden(shop.commands.ShipOrder(ship), "ORDER_NOT_PAID")


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_another_expected_version_is_aborted_with_both_versions(shop: Shop, expected: int) -> None:
    order_id = await shop.create()
    await shop.commands.AddOrderItem(
        commands.AddOrderItemRequest(order_id=order_id, product_id="cup", quantity=1, unit_price=money(1))
    )
    async with nothing_changes(shop):
        decided_on = CommandOptions(expected_version=expected)
        error = await refusal(shop.commands.PayOrder(a_payment(order_id, options=decided_on)))
    assert error.code == grpc.StatusCode.ABORTED
    assert (error.reason, error.domain) == ("VERSION_CONFLICT", DOMAIN)
    assert (error.metadata["expected"], error.metadata["actual"]) == (str(expected), "2")


async def test_a_request_id_that_is_used_for_another_request_is_refused(shop: Shop) -> None:
    create = an_order()
    order_id = (await shop.commands.CreateOrder(create)).receipt.aggregate_id
    other = an_order(item("other"), request_id=create.request_id)
    pay = a_payment(order_id, request_id=create.request_id)
    async with nothing_changes(shop):
        for call in (shop.commands.CreateOrder(other), shop.commands.PayOrder(pay)):
            error = await refusal(call)
            assert error.code == grpc.StatusCode.INVALID_ARGUMENT
            assert (error.reason, error.domain) == ("REQUEST_ID_REUSED", DOMAIN)
            assert [violation.field for violation in error.violations] == ["request_id"]


# --- messages that are none ----------------------------------------------------------------------


@pytest.fixture
async def raw(system: System) -> AsyncIterator[Callable[[str, bytes], Any]]:
    """Calls with bytes of the test's own."""
    async with (
        grpc.aio.insecure_channel(system.command_address) as to_commands,
        grpc.aio.insecure_channel(system.query_address) as to_queries,
    ):

        def call(method: str, content: bytes) -> Any:
            channel = to_queries if "Query" in method else to_commands
            send: Any = channel.unary_unary(method)
            return send(content, timeout=30)

        yield call


@pytest.mark.parametrize("method", [CREATE_ORDER, GET_ORDER])
@pytest.mark.parametrize("content", [b"\xff" * 20, b"\x0a\xff", b"GET / HTTP/1.1\r\n", b"\x0a\x02\xc3\x28"])
async def test_bytes_that_are_no_message_are_refused(
    shop: Shop, raw: Callable[[str, bytes], Any], method: str, content: bytes
) -> None:
    async with nothing_changes(shop):
        assert await wrong(raw(method, content), "MALFORMED_MESSAGE") == []


async def test_a_field_that_the_server_does_not_know_is_refused(
    shop: Shop, raw: Callable[[str, bytes], Any]
) -> None:
    unknown = b"\xc0\x3e\x01"  # field 1000, a varint
    inside = (
        b"\x1a" + bytes([len(item().SerializeToString() + unknown)]) + item().SerializeToString() + unknown
    )
    async with nothing_changes(shop):
        order = an_order().SerializeToString()
        assert await wrong(raw(CREATE_ORDER, order + unknown), "UNKNOWN_FIELD") == ["1000"]
        assert await wrong(raw(CREATE_ORDER, order + inside), "UNKNOWN_FIELD") == ["items[1].1000"]
        query = GetOrderRequest(order_id=new_id()).SerializeToString()
        assert await wrong(raw(GET_ORDER, query + unknown), "UNKNOWN_FIELD") == ["1000"]


async def test_a_connection_that_speaks_something_else_disturbs_nobody(system: System, shop: Shop) -> None:
    host, port = system.command_address.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)) * 100)
    async with nothing_changes(shop):
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    await shop.create()


@pytest.mark.parametrize("method", [CREATE_ORDER, GET_ORDER])
async def test_a_message_that_is_too_large_is_refused_with_its_size_and_the_limit(
    shop: Shop, raw: Callable[[str, bytes], Any], method: str
) -> None:
    async with nothing_changes(shop):
        error = await refusal(raw(method, b"\x0a" * (LIMIT + 1)))
    assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (error.reason, error.domain) == ("MESSAGE_TOO_LARGE", DOMAIN)
    assert error.metadata == {"size": str(LIMIT + 1), "limit": str(LIMIT)}
    assert error.retry_after is None


async def test_a_message_that_is_far_too_large_is_refused_before_it_is_read(
    shop: Shop, raw: Callable[[str, bytes], Any]
) -> None:
    async with nothing_changes(shop):
        error = await refusal(raw(CREATE_ORDER, b"\x0a" * (5 * LIMIT)))
    assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_order_that_is_as_large_as_can_be_is_stored(shop: Shop) -> None:
    await shop.create(*(item("p" * 60 + f"{n:04}", price=money(10**9 - 1, 999_999_999)) for n in range(1000)))


@pytest.mark.parametrize(
    "key", ["twofold-actor", "twofold-correlation-id", "twofold-causation-id", "traceparent"]
)
async def test_metadata_that_the_log_cannot_keep_is_refused(shop: Shop, key: str) -> None:
    async with nothing_changes(shop):
        call = shop.commands.CreateOrder(an_order(), metadata=((key, "x" * 256),))
        assert await wrong(call) == [key]


async def test_waiting_for_a_projection_that_does_not_exist_is_refused(shop: Shop) -> None:
    async with nothing_changes(shop):
        call = shop.commands.CreateOrder(an_order(options=CommandOptions(wait_for=["ordes"])))
        assert await wrong(call, "UNKNOWN_PROJECTION") == ["options.wait_for"]


# --- tokens --------------------------------------------------------------------------------------


def token(log_id: str, position: int) -> str:
    content = ConsistencyToken(logs=[LogPosition(log_id=log_id, position=position)]).SerializeToString()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def log_id_of(consistency_token: str) -> str:
    padded = consistency_token + "=" * (-len(consistency_token) % 4)
    return ConsistencyToken.FromString(base64.urlsafe_b64decode(padded)).logs[0].log_id


@pytest.mark.parametrize("bad", ["hello", "ä", "////", "AAAA", token(ANOTHER_LOG, 1), token("", -1)])
async def test_a_consistency_token_that_is_none_is_refused(shop: Shop, bad: str) -> None:
    order_id = await shop.create()
    query = GetOrderRequest(order_id=order_id, read_options=ReadOptions(consistency_token=bad))
    assert await wrong(shop.queries.GetOrder(query), "INVALID_CONSISTENCY_TOKEN") == [
        "read_options.consistency_token"
    ]


async def test_a_token_of_the_future_is_waited_for_and_then_told(shop: Shop) -> None:
    receipt = (await shop.commands.CreateOrder(an_order())).receipt
    future = receipt.position + 1_000_000
    query = GetOrderRequest(
        order_id=receipt.aggregate_id,
        read_options=ReadOptions(
            consistency_token=token(log_id_of(receipt.consistency_token), future),
            max_wait=Duration(nanos=500_000_000),
        ),
    )
    shop.client.current_session.consistency_token = receipt.consistency_token
    served = await shop.queries.GetOrder(query)
    assert served.read_info.stale
    assert served.order.order_id == receipt.aggregate_id

    query.read_options.on_stale = ON_STALE_FAIL
    error = await refusal(shop.queries.GetOrder(query))
    assert error.code == grpc.StatusCode.UNAVAILABLE
    assert (error.reason, error.domain) == ("PROJECTION_LAG", DOMAIN)
    assert error.metadata["want"] == str(future)
    assert int(error.metadata["have"]) >= receipt.position
    assert error.retry_after is not None


async def test_a_page_token_of_another_query_is_refused(shop: Shop) -> None:
    customer = f"customer-{new_id()[:8]}"
    for _ in range(2):
        await shop.create(customer_id=customer)
    page = await shop.queries.ListCustomerOrders(ListCustomerOrdersRequest(customer_id=customer, page_size=1))
    assert page.next_page_token
    for request in (
        ListCustomerOrdersRequest(customer_id="somebody-else", page_token=page.next_page_token),
        ListCustomerOrdersRequest(
            customer_id=customer, status=OrderStatus.ORDER_STATUS_PAID, page_token=page.next_page_token
        ),
        ListCustomerOrdersRequest(customer_id=customer, page_token="hello"),
        ListCustomerOrdersRequest(customer_id=customer, page_token=page.next_page_token[:-3]),
    ):
        call = shop.queries.ListCustomerOrders(request)
        assert await wrong(call, "INVALID_PAGE_TOKEN") == ["page_token"]
