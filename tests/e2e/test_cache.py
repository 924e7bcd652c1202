"""With the cache on, in processes: reads are fast and fresh, hits are told, and Redis may go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shop.orders.v1.query_service_pb2 import GetOrderRequest, ListCustomerOrdersRequest
from tests.e2e.shop import Shop, a_payment, visiting
from tests.e2e.systems import a_system
from tests.redis_server import redis_server
from twofold.v1.reading_pb2 import ReadOptions
from twofold_server.queries.cache.metrics import INTERVAL

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]
READS = 50


async def test_reads_with_tokens_are_fresh_while_redis_comes_and_goes(tmp_path: Path) -> None:
    with redis_server() as redis:
        async with a_system(tmp_path, cache="redis", cache_url=redis.url) as system:
            program = await system.up()
            async with visiting(system) as shop:
                await pays_and_reads(shop, READS)
                redis.kill()
                began = time.monotonic()
                await pays_and_reads(shop, READS)
                assert time.monotonic() - began < READS
                redis.start()
                await said(lambda: "the shared cache is back" in program.told)
                await pays_and_reads(shop, READS)
                order_id = await shop.create()
                for _ in range(READS):
                    await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))
                await said(lambda: "hit_rate=" in program.told)
            assert program.told.count("the shared cache is not available") == 1


async def test_a_change_is_seen_without_a_token_when_its_notice_has_come(tmp_path: Path) -> None:
    async with a_system(tmp_path, cache="memory") as system:
        await system.up()
        async with visiting(system) as shop:
            order_id = await shop.create(customer_id="bob")
            asked = GetOrderRequest(order_id=order_id)
            listed = ListCustomerOrdersRequest(customer_id="bob")
            await shop.queries.GetOrder(asked)
            await shop.queries.ListCustomerOrders(listed)
        async with visiting(system) as payer:
            await payer.commands.PayOrder(a_payment(order_id))
        async with visiting(system) as reader, asyncio.timeout(20):
            while (await reader.queries.GetOrder(asked)).order.version < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            while (await reader.queries.ListCustomerOrders(listed)).orders[0].version < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def pays_and_reads(shop: Shop, times: int) -> None:
    """Change orders, and read each back with its receipt's token."""
    for _ in range(times):
        order_id = await shop.create()
        receipt = (await shop.commands.PayOrder(a_payment(order_id))).receipt
        for _ in range(2):
            fresh = ReadOptions(consistency_token=receipt.consistency_token)
            request = GetOrderRequest(order_id=order_id, read_options=fresh)
            answer = await shop.queries.GetOrder(request)
            assert answer.order.version == receipt.version
            assert not answer.read_info.stale
            assert answer.read_info.position >= receipt.position


async def said(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(4 * INTERVAL):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
