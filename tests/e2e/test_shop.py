"""The whole way of an order: from the command over the log to the query."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from shop.orders.v1.events_pb2 import OrderCreated, OrderPaid
from shop.orders.v1.query_service_pb2 import GetOrderRequest, ListCustomerOrdersRequest
from shop.orders.v1.query_service_pb2_grpc import QueryServiceStub
from shop.orders.v1.values_pb2 import OrderStatus
from tests.e2e.conditions import until
from tests.e2e.shop import Shop, a_payment, an_order, item, money, new_id, visiting
from tests.e2e.systems import System
from twofold.v1.command_pb2 import CommandOptions
from twofold.v1.event_service_pb2 import (
    EventFilter,
    ReadEventsRequest,
    ReadStreamRequest,
    SubscribeRequest,
)
from twofold.v1.reading_pb2 import ReadOptions
from twofold.v1.recorded_event_pb2 import RecordedEvent

TOKEN = "twofold-consistency-token"


async def test_an_order_is_created_read_back_paid_and_listed(shop: Shop) -> None:
    customer = f"customer-{new_id()[:8]}"
    tea, cups, pot = (
        item("tea", 3, money(4, 500_000_000)),
        item("cup", 2, money(7)),
        item("pot", 1, money(30)),
    )
    created = await shop.commands.CreateOrder(an_order(tea, cups, pot, customer_id=customer))
    receipt = created.receipt
    assert receipt.version == 1
    assert not receipt.replayed

    fresh = ReadOptions(consistency_token=receipt.consistency_token)
    shown = await shop.queries.GetOrder(GetOrderRequest(order_id=receipt.aggregate_id, read_options=fresh))
    assert [(i.product_id, i.quantity) for i in shown.order.items] == [("tea", 3), ("cup", 2), ("pot", 1)]
    assert shown.order.total == money(57, 500_000_000)
    assert shown.order.status == OrderStatus.ORDER_STATUS_PENDING
    assert shown.read_info.position >= receipt.position
    assert not shown.read_info.stale

    paid = await shop.commands.PayOrder(a_payment(receipt.aggregate_id, payment_reference="card-7"))
    assert paid.receipt.version == 2
    listed = await shop.queries.ListCustomerOrders(
        ListCustomerOrdersRequest(
            customer_id=customer, read_options=ReadOptions(consistency_token=paid.receipt.consistency_token)
        )
    )
    [summary] = listed.orders
    assert (summary.order_id, summary.status) == (receipt.aggregate_id, OrderStatus.ORDER_STATUS_PAID)
    assert listed.total_size == 1


async def test_an_order_goes_all_the_way_to_the_door(shop: Shop) -> None:
    order_id = await shop.create(item("tea"), item("cup", 2))
    calls = shop.commands
    for command in (
        calls.AddOrderItem(
            commands.AddOrderItemRequest(
                order_id=order_id, product_id="pot", quantity=1, unit_price=money(30)
            )
        ),
        calls.ChangeItemQuantity(
            commands.ChangeItemQuantityRequest(order_id=order_id, product_id="cup", quantity=6)
        ),
        calls.RemoveOrderItem(commands.RemoveOrderItemRequest(order_id=order_id, product_id="tea")),
        calls.PayOrder(a_payment(order_id)),
        calls.ShipOrder(commands.ShipOrderRequest(order_id=order_id, carrier="DHL", tracking_number="7")),
        calls.CompleteOrder(commands.CompleteOrderRequest(order_id=order_id)),
    ):
        await command
    order = (await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))).order
    assert order.status == OrderStatus.ORDER_STATUS_COMPLETED
    assert [(i.product_id, i.quantity) for i in order.items] == [("cup", 6), ("pot", 1)]
    assert order.payment.amount == order.total == money(90)
    assert order.shipment.carrier == "DHL"
    assert order.version == 7


async def test_a_cancelled_order_says_why(shop: Shop) -> None:
    order_id = await shop.create()
    await shop.commands.CancelOrder(commands.CancelOrderRequest(order_id=order_id, reason="changed my mind"))
    order = (await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))).order
    assert order.status == OrderStatus.ORDER_STATUS_CANCELLED
    assert order.cancellation_reason == "changed my mind"


async def test_the_events_of_an_order_say_who_acted_in_which_conversation(system: System) -> None:
    async with visiting(system, actor="alice", correlation_id="conversation-7") as shop:
        create = an_order()
        order_id = (await shop.commands.CreateOrder(create)).receipt.aggregate_id
        pay = a_payment(order_id)
        await shop.commands.PayOrder(pay)
        created, paid = await the_stream(shop, f"order-{order_id}")
    assert created.event.Is(OrderCreated.DESCRIPTOR)
    assert paid.event.Is(OrderPaid.DESCRIPTOR)
    assert [event.stream_version for event in (created, paid)] == [1, 2]
    assert {event.metadata.actor for event in (created, paid)} == {"alice"}
    assert {event.metadata.correlation_id for event in (created, paid)} == {"conversation-7"}
    assert created.metadata.causation_id == create.request_id
    assert paid.metadata.causation_id == pay.request_id
    assert len({created.event_id, paid.event_id}) == 2


async def test_the_trace_of_a_call_is_kept_with_its_event(shop: Shop) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await shop.commands.CreateOrder(an_order(), metadata=(("traceparent", trace),))
    [event] = await the_stream(shop, f"order-{answer.receipt.aggregate_id}")
    assert event.metadata.traceparent == trace


async def test_a_subscriber_sees_the_past_and_then_each_new_event_once(shop: Shop) -> None:
    before = await shop.head()
    first = await shop.create()
    events = subscribed(shop, SubscribeRequest(after_position=before))
    seen = [await anext(events)]
    for _ in range(20):
        await shop.create()
        seen.append(await anext(events))
    assert [event.position for event in seen] == list(range(before + 1, before + 22))
    assert seen[0].stream_name == f"order-{first}"
    assert [e.SerializeToString() for e in seen] == [e.SerializeToString() for e in await shop.log(before)]


async def test_a_subscriber_can_ask_for_one_kind_of_event(shop: Shop) -> None:
    wanted = EventFilter(event_types=["shop.orders.v1.OrderPaid"])
    before = await shop.head()
    events = subscribed(shop, SubscribeRequest(after_position=before, filter=wanted))
    order_id = await shop.create()
    paid = await shop.commands.PayOrder(a_payment(order_id))
    assert (await anext(events)).position == paid.receipt.position
    read = [
        event.position
        async for answer in shop.events.ReadEvents(ReadEventsRequest(after_position=before, filter=wanted))
        for event in answer.events
    ]
    assert read == [paid.receipt.position]


async def test_the_consistency_token_comes_back_and_is_taken_as_metadata(system: System) -> None:
    async with (
        grpc.aio.insecure_channel(system.command_address) as to_commands,
        grpc.aio.insecure_channel(system.query_address) as to_queries,
    ):
        command = CommandServiceStub(to_commands).CreateOrder(an_order())
        receipt = (await command).receipt
        assert said(await command.trailing_metadata(), TOKEN) == receipt.consistency_token

        query = QueryServiceStub(to_queries).GetOrder(
            GetOrderRequest(order_id=receipt.aggregate_id), metadata=((TOKEN, receipt.consistency_token),)
        )
        info = (await query).read_info
        assert info.position >= receipt.position
        assert said(await query.trailing_metadata(), TOKEN) == info.consistency_token


async def test_a_receipt_can_wait_until_the_order_can_be_read(shop: Shop, system: System) -> None:
    async with grpc.aio.insecure_channel(system.query_address) as channel:
        get_order = QueryServiceStub(channel).GetOrder  # of no session: it knows of no token
        for _ in range(20):
            order_id = await shop.create(options=CommandOptions(wait_for=["orders"]))
            assert (await get_order(GetOrderRequest(order_id=order_id))).order.version == 1


async def test_a_command_can_be_tried_out(shop: Shop) -> None:
    order_id = await shop.create()
    before = await shop.head()
    dry_run = a_payment(order_id, options=CommandOptions(validate_only=True))
    receipt = (await shop.commands.PayOrder(dry_run)).receipt
    assert [event.type_url.rpartition("/")[2] for event in receipt.planned_events] == [
        "shop.orders.v1.OrderPaid"
    ]
    assert receipt.version == 2
    assert await shop.head() == before

    dry_run.options.validate_only = False
    real = (await shop.commands.PayOrder(dry_run)).receipt
    assert (real.version, real.replayed) == (2, False)


async def test_an_expected_version_that_is_right_is_accepted(shop: Shop) -> None:
    create = an_order(options=CommandOptions(expected_version=0))
    order_id = (await shop.commands.CreateOrder(create)).receipt.aggregate_id
    paid = await shop.commands.PayOrder(a_payment(order_id, options=CommandOptions(expected_version=1)))
    assert paid.receipt.version == 2


async def test_orders_are_listed_page_by_page_the_newest_first(shop: Shop) -> None:
    customer = f"customer-{new_id()[:8]}"
    created = [await shop.create(customer_id=customer) for _ in range(5)]
    listed: list[str] = []
    request = ListCustomerOrdersRequest(customer_id=customer, page_size=2)
    while True:
        page = await shop.queries.ListCustomerOrders(request)
        listed += [order.order_id for order in page.orders]
        assert page.total_size == 5
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert listed == created[::-1]


async def test_each_command_and_each_query_leaves_one_line_in_the_log(system: System, shop: Shop) -> None:
    create = an_order()
    async with visiting(system, correlation_id=create.request_id) as talkative:
        receipt = (await talkative.commands.CreateOrder(create)).receipt
        await talkative.queries.GetOrder(GetOrderRequest(order_id=receipt.aggregate_id))
    lines = await until(lambda: two_lines(system, create.request_id), "both calls are in the log")
    command = next(line for line in lines if line["event"] == "command")
    query = next(line for line in lines if line["event"] == "query")
    assert command["method"] == "CreateOrder"
    assert command["request_id"] == create.request_id
    assert command["aggregate_id"] == receipt.aggregate_id
    assert (command["version"], command["position"]) == (receipt.version, receipt.position)
    assert command["outcome"] == query["outcome"] == "ok"
    assert query["method"] == "GetOrder"
    assert command["ms"] > 0 < query["ms"]


def two_lines(system: System, correlation_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in system.programs[0].err if correlation_id in line]
    found = [line for line in lines if line["event"] in ("command", "query")]
    return found if len(found) == 2 else []


def said(metadata: Any, key: str) -> str:
    return str(dict(metadata)[key])


async def the_stream(shop: Shop, name: str) -> list[RecordedEvent]:
    answers = shop.events.ReadStream(ReadStreamRequest(stream_name=name))
    return [event async for answer in answers for event in answer.events]


async def subscribed(shop: Shop, request: SubscribeRequest) -> AsyncIterator[RecordedEvent]:
    call = shop.events.Subscribe(request)
    async with asyncio.timeout(30):
        async for answer in call:
            for event in answer.events:
                yield event
