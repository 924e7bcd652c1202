"""A server that is given too much: it refuses at once, does what it took on, and stays in sight."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from shop.orders.v1.query_service_pb2 import GetOrderRequest
from tests.e2e.conditions import until
from tests.e2e.held_log import nothing_commits
from tests.e2e.shop import Shop, an_order, visiting
from tests.e2e.systems import SERVING, System, role_process
from twofold.v1.batch_service_pb2 import BatchExecuteRequest
from twofold.v1.batch_service_pb2_grpc import BatchServiceStub
from twofold.v1.command_pb2 import CommandOptions
from twofold_client import CallError, error_of

pytestmark = pytest.mark.timeout(300)


async def outcome(call: Any) -> CallError | None:
    """Why a call failed; None where it did not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error_of(error)
    return None


def refused(found: CallError | None, reason: str) -> bool:
    """Whether a call was refused for this reason, with when to retry."""
    if found is None or found.reason != reason:
        return False
    assert found.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert found.retry_after
    return "nothing was done" in found.message


def a_batch(count: int) -> BatchExecuteRequest:
    batch = BatchExecuteRequest()
    for _ in range(count):
        batch.commands.add().Pack(an_order())
    return batch


async def services(system: System) -> list[str]:
    """What reflection lists."""
    async with grpc.aio.insecure_channel(system.command_address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=10)
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await call.read()
        call.cancel()
    return [service.name for service in answer.list_services_response.service]


async def test_calls_beyond_the_limit_are_refused_and_those_in_work_are_done(own_system: System) -> None:
    await own_system.role("command-server", max_in_flight="3")
    async with visiting(own_system) as shop:
        with nothing_commits(own_system):
            calls = [asyncio.create_task(outcome(shop.commands.CreateOrder(an_order()))) for _ in range(10)]
            await until(lambda: sum(call.done() for call in calls) == 7, "seven of ten are refused")
            assert all(refused(call.result(), "TOO_MANY_CALLS") for call in calls if call.done())
            batch = shop.client.stub(BatchServiceStub).BatchExecute(a_batch(1))
            assert refused(await outcome(batch), "TOO_MANY_CALLS")
            assert await shop.head() == 0, "the log can be read meanwhile"
            assert await own_system.health("command-server") == SERVING
            assert "shop.orders.v1.CommandService" in await services(own_system)
        assert [await call for call in calls].count(None) == 3
        assert await shop.head() == 3
        answer = await shop.client.stub(BatchServiceStub).BatchExecute(a_batch(5))
        assert sum(each.HasField("receipt") for each in answer.outcomes) == 5, "more than the limit, alone"
        assert await shop.head() == 8


async def test_while_commits_hang_new_commands_are_refused(own_system: System) -> None:
    await own_system.role("command-server", max_queue_seconds="0.2")
    async with visiting(own_system) as shop:
        with nothing_commits(own_system):
            calls = [asyncio.create_task(outcome(shop.commands.CreateOrder(an_order()))) for _ in range(5)]

            async def is_refused() -> bool:
                asked = an_order(options=CommandOptions(validate_only=True))
                return refused(await outcome(shop.commands.CreateOrder(asked, timeout=0.1)), "QUEUE_TOO_LONG")

            await until(is_refused, "the queue is too long")
        assert [await call for call in calls] == [None] * 5
        assert await outcome(shop.commands.CreateOrder(an_order())) is None
        assert await shop.head() == 6


async def test_commands_wait_for_a_read_model_that_is_too_far_behind(own_system: System) -> None:
    up = await own_system.up(max_projection_lag='{"orders": 5}')
    async with visiting(own_system) as shop:
        await is_applied(shop, await shop.create(options=CommandOptions(wait_for=["orders"])))
        projector = role_process(up, "projector")
        assert projector is not None
        projector.send_signal(signal.SIGSTOP)
        try:
            taken = await until_refused(shop)
            assert taken == 6
            assert await own_system.health("command-server") == SERVING
        finally:
            projector.send_signal(signal.SIGCONT)

        async def is_taken() -> bool:
            return await outcome(shop.commands.CreateOrder(an_order())) is None

        await until(is_taken, "the read model has caught up")


async def is_applied(shop: Shop, order_id: str) -> None:
    assert (await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))).order.order_id == order_id


async def until_refused(shop: Shop) -> int:
    """How many orders are taken until one is refused because the read model is behind."""
    for taken in range(50):
        found = await outcome(shop.commands.CreateOrder(an_order()))
        if found is not None:
            assert refused(found, "READ_MODEL_BEHIND"), found
            return taken
    raise AssertionError("none was refused")
