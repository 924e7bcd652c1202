"""With the token of a command, nobody reads an older state than the command left, however busy it is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from shop.orders.v1.command_service_pb2 import AddOrderItemRequest
from shop.orders.v1.query_service_pb2 import GetOrderRequest, ListCustomerOrdersRequest
from tests.e2e.drill.callers import Caller
from tests.e2e.drill.journal import Journal
from tests.e2e.drill.scale import SCALE, SECONDS
from tests.e2e.shop import Shop, an_order, money, new_id, visiting
from tests.e2e.systems import a_system
from tests.redis_server import RedisServer, redis_server
from twofold.v1.command_pb2 import Receipt
from twofold.v1.reading_pb2 import ReadOptions

pytestmark = [pytest.mark.drill, pytest.mark.timeout(SECONDS)]

READERS = 4
LOAD = 4


@pytest.mark.parametrize("cache", ["off", "memory", pytest.param("redis", marks=pytest.mark.redis)])
async def test_no_read_with_a_token_is_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: str
) -> None:
    journal, stop = Journal(), asyncio.Event()
    async with AsyncExitStack() as stack:
        settings = {"cache": cache}
        if cache == "redis":
            redis = stack.enter_context(redis_server())
            settings["cache_url"] = redis.url
            await stack.enter_async_context(restarting(redis))
        system = await stack.enter_async_context(a_system(tmp_path, log_level="warning", **settings))
        await system.up()
        async with visiting(system) as shop:
            shared = [await shop.create()]
            callers = [Caller(shop, journal, shared=shared, seed=n) for n in range(LOAD)]
            load = [asyncio.create_task(caller.run(stop)) for caller in callers]
            results = await asyncio.gather(
                *(read_back(shop, n, SCALE.reads // READERS) for n in range(READERS))
            )
            stop.set()
            await asyncio.gather(*load)
    stale, tries = sum(results), SCALE.reads
    with capsys.disabled():
        told = f"{tries:,} reads with a token, {len(journal.done):,} other commands, cache {cache}"
        print(f"\n{told}: {stale} stale")  # noqa: T201
    assert stale == 0
    assert not journal.contradictions


@asynccontextmanager
async def restarting(redis: RedisServer) -> AsyncIterator[None]:
    """Kill a Redis and start it again, every other second."""

    async def restart() -> None:
        while True:
            await asyncio.sleep(2)
            redis.kill()
            await asyncio.sleep(1)
            await asyncio.to_thread(redis.start)

    restarts = asyncio.create_task(restart())
    try:
        yield
    finally:
        restarts.cancel()
        await asyncio.wait([restarts])


async def read_back(shop: Shop, seed: int, tries: int) -> int:
    """Change an order and read it, again and again; how many of the reads were stale."""
    chance, customer = random.Random(seed), f"reader-{seed}"
    order_id, created, stale = "", 0, 0
    for _ in range(tries):
        if not order_id or chance.random() < 0.3:
            receipt = (await shop.commands.CreateOrder(an_order(customer_id=customer))).receipt
            order_id, created = receipt.aggregate_id, created + 1
        else:
            receipt = (await shop.commands.AddOrderItem(addition(order_id))).receipt
        stale += await is_stale(shop, receipt)
        stale += chance.random() < 0.1 and await misses_orders(shop, receipt, customer, created)
    return stale


def addition(order_id: str) -> AddOrderItemRequest:
    return AddOrderItemRequest(
        order_id=order_id, product_id="extra", quantity=1, unit_price=money(1), request_id=new_id()
    )


async def is_stale(shop: Shop, receipt: Receipt) -> bool:
    fresh = ReadOptions(consistency_token=receipt.consistency_token)
    query = GetOrderRequest(order_id=receipt.aggregate_id, read_options=fresh)
    answer = await shop.queries.GetOrder(query)
    return answer.order.version < receipt.version or answer.read_info.stale


async def misses_orders(shop: Shop, receipt: Receipt, customer: str, created: int) -> bool:
    fresh = ReadOptions(consistency_token=receipt.consistency_token)
    query = ListCustomerOrdersRequest(customer_id=customer, page_size=1, read_options=fresh)
    answer = await shop.queries.ListCustomerOrders(query)
    return answer.total_size < created or answer.read_info.stale
