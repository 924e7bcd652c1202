"""One caller in this process, who waits for each answer before the next call: latencies in milliseconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import uvloop
from google.protobuf.json_format import ParseDict

from bench.orders import order_body
from shop.orders.v1.command_service_pb2 import CreateOrderRequest
from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from shop.orders.v1.query_service_pb2 import GetOrderRequest
from shop.orders.v1.query_service_pb2_grpc import QueryServiceStub
from twofold.v1.reading_pb2 import ON_STALE_FAIL, ReadOptions
from twofold_client import request_id
from twofold_server.settings import Settings


def echo_latencies(address: str, seconds: float) -> list[float]:
    """Of empty calls."""
    return _run(_echo(address, seconds))


def visible_latencies(settings: Settings, seconds: float) -> list[float]:
    """Of queries for what a command has just been acknowledged for."""
    return _run(_visible(settings, seconds))


async def _echo(address: str, seconds: float) -> list[float]:
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary("/bench.v1.EchoService/Echo")

        async def once() -> float:
            began = time.perf_counter()
            await call(b"")
            return time.perf_counter() - began

        return await _for(seconds, once)


async def _visible(settings: Settings, seconds: float) -> list[float]:
    request = ParseDict(order_body(), CreateOrderRequest())
    async with (
        grpc.aio.insecure_channel(settings.command_address) as commands,
        grpc.aio.insecure_channel(settings.query_address) as queries,
    ):
        command, query = CommandServiceStub(commands), QueryServiceStub(queries)

        async def once() -> float:
            request.request_id = request_id()
            receipt = (await command.CreateOrder(request)).receipt
            began = time.perf_counter()
            options = ReadOptions(consistency_token=receipt.consistency_token, on_stale=ON_STALE_FAIL)
            await query.GetOrder(GetOrderRequest(order_id=receipt.aggregate_id, read_options=options))
            return time.perf_counter() - began

        return await _for(seconds, once)


async def _for(seconds: float, once: Callable[[], Awaitable[float]]) -> list[float]:
    await once()  # connects
    end = time.perf_counter() + seconds
    found = []
    while time.perf_counter() < end:
        found.append(await once() * 1e3)
    return found


def _run(work: Awaitable[list[float]]) -> list[float]:
    async def main() -> list[float]:
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
