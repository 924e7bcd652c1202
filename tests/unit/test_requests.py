"""Bad input: each is told with every violation and the path of its field."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.message import Message

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1 import query_service_pb2 as queries
from tests.unit.order_messages import (
    ADDRESS,
    ORDER,
    add,
    cancel,
    change,
    create,
    item,
    money,
    pay,
    remove,
    ship,
)
from twofold.v1.command_pb2 import CommandOptions
from twofold.v1.event_service_pb2 import ReadEventsRequest, ReadStreamRequest
from twofold.v1.reading_pb2 import ReadOptions
from twofold_server.errors import InvalidRequest, TooLarge
from twofold_server.rpc.requests import RequestReader

Create = commands.CreateOrderRequest


@pytest.fixture(scope="module")
def reader() -> RequestReader:
    """Compiling the rules takes a while: once for all tests."""
    return RequestReader(max_bytes=100_000)


def refusal(reader: RequestReader, message: Message | bytes, kind: type[Message] = Create) -> InvalidRequest:
    content = message if isinstance(message, bytes) else message.SerializeToString()
    with pytest.raises(InvalidRequest) as error:
        reader.read(kind if isinstance(message, bytes) else type(message), content)
    return error.value


@pytest.mark.parametrize(
    "command",
    [
        create(),
        create(order_id=""),
        create(item("A.b_c-9", 1_000_000, money(1_000_000_000)), item("x" * 64, 1, money(0, 1))),
        add(),
        remove(),
        change(),
        pay(),
        ship(),
        cancel(""),
        commands.PayOrderRequest(
            order_id=ORDER,
            payment_reference="p",
            request_id="7D9F0F5E-7A55-4AC4-A55B-1B5F5D1F2A01",
            options=CommandOptions(expected_version=0, validate_only=True, wait_for=["orders"]),
        ),
    ],
    ids=lambda command: command.DESCRIPTOR.name,
)
def test_a_good_command_is_read_as_it_was_sent(reader: RequestReader, command: Message) -> None:
    assert reader.read(type(command), command.SerializeToString()) == command


def bad(change: Callable[[Create], object]) -> Create:
    """An order with something wrong in it."""
    command = create(item("tea", 2), item("milk", 1))
    change(command)
    return command


def price(command: Create, **changes: object) -> None:
    for name, value in changes.items():
        setattr(command.items[1].unit_price, name, value)


BAD_ORDERS: dict[str, tuple[Callable[[Create], object], set[str]]] = {
    "no items": (lambda c: c.ClearField("items"), {"items"}),
    "too many items": (lambda c: c.items.extend([item()] * 999), {"items"}),
    "a quantity of zero": (lambda c: setattr(c.items[1], "quantity", 0), {"items[1].quantity"}),
    "a negative quantity": (lambda c: setattr(c.items[0], "quantity", -1), {"items[0].quantity"}),
    "a huge quantity": (lambda c: setattr(c.items[1], "quantity", 1_000_001), {"items[1].quantity"}),
    "no price": (lambda c: c.items[0].ClearField("unit_price"), {"items[0].unit_price"}),
    "a negative price": (lambda c: price(c, units=-1), {"items[1].unit_price"}),
    "a huge price": (lambda c: price(c, units=1_000_000_001), {"items[1].unit_price"}),
    "a price one billionth too high": (
        lambda c: price(c, units=1_000_000_000, nanos=1),
        {"items[1].unit_price"},
    ),
    "negative nanos": (lambda c: price(c, nanos=-1), {"items[1].unit_price.nanos"}),
    "too many nanos": (lambda c: price(c, nanos=1_000_000_000), {"items[1].unit_price.nanos"}),
    "units and nanos of two signs": (
        lambda c: price(c, units=-1, nanos=5),
        {"items[1].unit_price"},
    ),
    "no currency": (lambda c: price(c, currency_code=""), {"items[1].unit_price.currency_code"}),
    "a currency in small letters": (
        lambda c: price(c, currency_code="eur"),
        {"items[1].unit_price.currency_code"},
    ),
    "a currency with a line after it": (
        lambda c: price(c, currency_code="EUR\n"),
        {"items[1].unit_price.currency_code"},
    ),
    "a product with a blank": (lambda c: setattr(c.items[0], "product_id", "a b"), {"items[0].product_id"}),
    "a product with a line after it": (
        lambda c: setattr(c.items[0], "product_id", "tea\n"),
        {"items[0].product_id"},
    ),
    "no product": (lambda c: setattr(c.items[0], "product_id", ""), {"items[0].product_id"}),
    "a malformed order id": (lambda c: setattr(c, "order_id", "42"), {"order_id"}),
    "an order id in capital letters": (
        lambda c: setattr(c, "order_id", ORDER.upper()[:-1] + "A"),
        {"order_id"},
    ),
    "a malformed request id": (lambda c: setattr(c, "request_id", "retry-1"), {"request_id"}),
    "a malformed customer": (lambda c: setattr(c, "customer_id", "a/b"), {"customer_id"}),
    "no customer": (lambda c: setattr(c, "customer_id", ""), {"customer_id"}),
    "no address": (lambda c: c.ClearField("shipping_address"), {"shipping_address"}),
    "no recipient": (
        lambda c: setattr(c.shipping_address, "recipient", ""),
        {"shipping_address.recipient"},
    ),
    "a country in words": (
        lambda c: setattr(c.shipping_address, "country_code", "Germany"),
        {"shipping_address.country_code"},
    ),
    "a negative expected version": (
        lambda c: setattr(c.options, "expected_version", -1),
        {"options.expected_version"},
    ),
    "an empty projection to wait for": (lambda c: c.options.wait_for.append(""), {"options.wait_for[0]"}),
}


@pytest.mark.parametrize("what", BAD_ORDERS)
def test_what_is_wrong_with_an_order_is_told_by_the_path_of_its_field(
    reader: RequestReader, what: str
) -> None:
    spoil, paths = BAD_ORDERS[what]
    error = refusal(reader, bad(spoil))
    assert {path for path, _ in error.violations} == paths
    assert all(text for _, text in error.violations)
    assert error.reason == "INVALID_REQUEST"
    assert all(path in error.message for path in paths)


def test_everything_that_is_wrong_is_told_at_once(reader: RequestReader) -> None:
    command = Create(
        order_id="42",
        items=[item("tea", 0, money(1, currency="")), item("", 1_000_001, money(-1))],
        request_id="x",
    )
    assert {path for path, _ in refusal(reader, command).violations} == {
        "order_id",
        "customer_id",
        "items[0].quantity",
        "items[0].unit_price.currency_code",
        "items[1].product_id",
        "items[1].quantity",
        "items[1].unit_price",
        "shipping_address",
        "request_id",
    }


@pytest.mark.parametrize(
    ("request_message", "path"),
    [
        (add(quantity=0), "quantity"),
        (add(price=money(-1)), "unit_price"),
        (commands.AddOrderItemRequest(order_id=ORDER, product_id="tea", quantity=1), "unit_price"),
        (change(quantity=0), "quantity"),
        (remove(""), "product_id"),
        (commands.PayOrderRequest(order_id=ORDER), "payment_reference"),
        (pay(""), "order_id"),
        (pay("not-a-uuid"), "order_id"),
        (commands.ShipOrderRequest(order_id=ORDER, tracking_number="1"), "carrier"),
        (commands.ShipOrderRequest(order_id=ORDER, carrier="post"), "tracking_number"),
        (cancel("x" * 501), "reason"),
        (commands.CompleteOrderRequest(), "order_id"),
        (queries.GetOrderRequest(order_id="42"), "order_id"),
        (queries.ListCustomerOrdersRequest(customer_id="ada", page_size=-1), "page_size"),
        (queries.ListCustomerOrdersRequest(customer_id="ada", skip=-1), "skip"),
        (queries.ListCustomerOrdersRequest(customer_id="ada", skip=10_001), "skip"),
        (queries.ListCustomerOrdersRequest(customer_id="ada", status=99), "status"),  # type: ignore[arg-type]
        (
            queries.GetOrderRequest(order_id=ORDER, read_options=ReadOptions(on_stale=9)),  # type: ignore[arg-type]
            "read_options.on_stale",
        ),
        (ReadEventsRequest(after_position=-1), "after_position"),
        (ReadEventsRequest(limit=-1), "limit"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.DESCRIPTOR.name,
)
def test_what_is_wrong_with_other_requests_is_told_likewise(
    reader: RequestReader, request_message: Message, path: str
) -> None:
    assert [found for found, _ in refusal(reader, request_message).violations] == [path]


# --- messages that are none ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"], ids=["noise", "cut", "no UTF-8"]
)
def test_bytes_that_are_no_message_are_refused(reader: RequestReader, content: bytes) -> None:
    error = refusal(reader, content)
    assert error.reason == "MALFORMED_MESSAGE"
    assert "shop.orders.v1.CreateOrderRequest" in error.message


def test_a_message_that_is_too_large_is_refused_with_its_size_and_the_limit(reader: RequestReader) -> None:
    with pytest.raises(TooLarge) as error:
        reader.read(Create, b"\0" * 100_001)
    assert error.value.reason == "MESSAGE_TOO_LARGE"
    assert error.value.metadata == {"size": "100001", "limit": "100000"}


def test_a_message_at_the_limit_is_read() -> None:
    content = create().SerializeToString()
    assert RequestReader(max_bytes=len(content)).read(Create, content) == create()


UNKNOWN = b"\xba\x3e\x03abc"
"""Field 999, three bytes."""


def with_unknown_field_in_item(number: int) -> bytes:
    command = create(item("tea"), item("milk"), item("jam"))
    command.items[number].MergeFromString(UNKNOWN)
    return command.SerializeToString()


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (create().SerializeToString() + UNKNOWN, "999"),
        (with_unknown_field_in_item(2), "items[2].999"),
        (
            Create(shipping_address=type(ADDRESS).FromString(UNKNOWN)).SerializeToString(),
            "shipping_address.999",
        ),
    ],
    ids=["at the top", "in an item", "in the address"],
)
def test_a_field_that_the_server_does_not_know_is_refused(
    reader: RequestReader, content: bytes, path: str
) -> None:
    error = refusal(reader, content)
    assert error.reason == "UNKNOWN_FIELD"
    assert [found for found, _ in error.violations] == [path]


def test_the_character_that_no_database_can_hold_is_refused_wherever_it_stands(reader: RequestReader) -> None:
    order = create(item("tea"), item("te\0a"), order_id=ORDER)
    order.shipping_address.recipient = "\0"
    order.options.expected_version = 0  # has a byte of this kind, and is fine
    told = refusal(reader, order)
    assert [field for field, _ in told.violations] == ["items[1].product_id", "shipping_address.recipient"]
    read_stream = ReadStreamRequest(stream_name="order-\0")
    assert refusal(reader, read_stream, ReadStreamRequest).violations[0][0] == "stream_name"
    order = create(item("tea"))
    order.options.expected_version = 0
    assert reader.read(Create, order.SerializeToString()) == order
