"""Watching an order, and its history, through real processes."""

from __future__ import annotations

import signal
from typing import Any

import grpc
import pytest

from shop.orders.v1.command_service_pb2 import ShipOrderRequest
from shop.orders.v1.query_service_pb2 import GetOrderHistoryRequest, GetOrderRequest, WatchOrderRequest
from shop.orders.v1.values_pb2 import OrderStatus
from tests.e2e.conditions import until
from tests.e2e.refusals import refusal, wrong
from tests.e2e.shop import Shop, a_payment, an_order, new_id, visiting
from tests.e2e.systems import System
from tests.nats_server import nats_server
from twofold.v1.reading_pb2 import ReadOptions

PENDING, PAID, SHIPPED = (
    OrderStatus.ORDER_STATUS_PENDING,
    OrderStatus.ORDER_STATUS_PAID,
    OrderStatus.ORDER_STATUS_SHIPPED,
)


def watching(shop: Shop, order_id: str, **fields: Any) -> Any:
    return shop.queries.WatchOrder(WatchOrderRequest(order_id=order_id, **fields))


async def test_an_order_is_watched_and_resumed(shop: Shop) -> None:
    receipt = (await shop.commands.CreateOrder(an_order())).receipt
    order_id = receipt.aggregate_id
    fresh = ReadOptions(consistency_token=receipt.consistency_token)
    call = watching(shop, order_id, read_options=fresh)
    assert (await call.read()).order.status == PENDING
    await shop.commands.PayOrder(a_payment(order_id))
    paid = await call.read()
    assert paid.order.status == PAID
    call.cancel()

    resumed = watching(shop, order_id, resume_token=paid.read_info.consistency_token)
    await shop.commands.ShipOrder(ShipOrderRequest(order_id=order_id, carrier="DHL", tracking_number="7"))
    assert (await resumed.read()).order.status == SHIPPED
    resumed.cancel()


async def test_watching_nothing_is_refused(shop: Shop) -> None:
    assert (await refusal(watching(shop, new_id()).read())).code == grpc.StatusCode.NOT_FOUND
    assert await wrong(watching(shop, "1").read()) == ["order_id"]
    order_id = await shop.create()
    damaged = watching(shop, order_id, resume_token="x").read()
    assert await wrong(damaged, "INVALID_CONSISTENCY_TOKEN") == ["resume_token"]


async def test_a_history_tells_what_happened_by_whom(shop: Shop) -> None:
    metadata = (("twofold-actor", "clerk-7"), ("twofold-correlation-id", "talk-1"))
    order_id = (await shop.commands.CreateOrder(an_order(), metadata=metadata)).receipt.aggregate_id
    paid = (await shop.commands.PayOrder(a_payment(order_id, payment_reference="card-9"))).receipt
    fresh = ReadOptions(consistency_token=paid.consistency_token)
    told = await shop.queries.GetOrderHistory(GetOrderHistoryRequest(order_id=order_id, read_options=fresh))
    assert [event.version for event in told.events] == [1, 2]
    assert (told.events[0].actor, told.events[0].correlation_id) == ("clerk-7", "talk-1")
    assert "card-9" in told.events[1].summary
    assert told.read_info.position >= paid.position
    assert told.order == (await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))).order
    then = await shop.queries.GetOrderHistory(GetOrderHistoryRequest(order_id=order_id, version=1))
    assert (then.order.status, then.total_size) == (PENDING, 1)
    missing = await refusal(shop.queries.GetOrderHistory(GetOrderHistoryRequest(order_id=new_id())))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")


@pytest.mark.timeout(180)
async def test_what_needs_the_log_says_so_while_it_is_away_and_watchers_are_told_of_a_stop(
    own_system: System,
) -> None:
    async with nats_server() as broker, visiting(own_system) as shop:
        log = await own_system.role("command-server", nats_url=broker.url)
        await own_system.role("projector", nats_url=broker.url)
        queries = await own_system.role("query-server", nats_url=broker.url)
        order_id = await shop.create()
        history = GetOrderHistoryRequest(order_id=order_id)
        call = watching(shop, order_id)
        assert (await call.read()).order.order_id == order_id

        log.send(signal.SIGTERM)
        await log.ended()
        away = await refusal(shop.queries.GetOrderHistory(history))
        assert (away.code, away.reason) == (grpc.StatusCode.UNAVAILABLE, "EVENT_LOG_UNAVAILABLE")
        assert away.retry_after is not None
        assert (await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))).order.order_id == order_id
        await own_system.role("command-server", nats_url=broker.url)
        await until(lambda: answers(shop, history), "the history is told again", seconds=60)

        queries.send(signal.SIGTERM)
        ended = await refusal(call.read())
        assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
        assert ended.retry_after is not None


async def answers(shop: Shop, history: GetOrderHistoryRequest) -> bool:
    try:
        return (await shop.queries.GetOrderHistory(history)).total_size == 1
    except grpc.aio.AioRpcError:
        return False
