"""A read model is built anew while the shop goes on, and there is a way back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from shop.orders.v1.query_service_pb2 import GetOrderRequest
from tests.contract.event_stores import postgres_url
from tests.e2e.conditions import until
from tests.e2e.drill.read_model import audit_read_model
from tests.e2e.shop import Shop, an_order, visiting
from tests.e2e.systems import SERVING, System, a_system, kill_role, role_process, words_of
from tests.e2e.test_projections_command import listed, said
from tests.postgres_server import postgres_server
from twofold.v1 import projection_service_pb2 as pb
from twofold.v1.batch_service_pb2 import BatchExecuteRequest
from twofold.v1.batch_service_pb2_grpc import BatchServiceStub
from twofold.v1.projection_service_pb2_grpc import ProjectionServiceStub
from twofold.v1.recorded_event_pb2 import RecordedEvent
from twofold_server.app.rebuild_crew import NICE

pytestmark = pytest.mark.timeout(300)
ORDERS = 3000
"""More than one loop is left to fold alone."""


async def fill(system: System, count: int = ORDERS) -> None:
    """So many orders."""
    async with grpc.aio.insecure_channel(system.command_address) as channel:
        for _ in range(0, count, 500):
            batch = BatchExecuteRequest()
            for _ in range(min(count, 500)):
                batch.commands.add().Pack(an_order())
            answer = await BatchServiceStub(channel).BatchExecute(batch)
            assert all(outcome.HasField("receipt") for outcome in answer.outcomes)


@asynccontextmanager
async def living(shop: Shop, *, read: bool = True, pause: float = 0) -> AsyncIterator[list[str]]:
    """Orders come in, and are read back at once, all the while; with a pause in seconds after each."""
    seen: list[str] = []

    async def live() -> None:
        while True:
            order = await shop.create()
            if read:
                answer = await shop.queries.GetOrder(GetOrderRequest(order_id=order))
                assert answer.order.order_id == order
                assert not answer.read_info.stale
            seen.append(order)
            await asyncio.sleep(pause)

    task = asyncio.create_task(live())
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def rebuilt(system: System, *arguments: str) -> list[dict[str, object]]:
    """What `rebuild --json` tells."""
    code, out, err = await said(system, "rebuild", "orders", "--json", *arguments)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


async def builds(system: System) -> dict[int, str]:
    """The state of each build, by its number."""
    shown = (await listed(system))["orders"]
    return {each["build"]: each["state"].removeprefix("BUILD_STATE_") for each in shown["builds"]}


async def audited(system: System, shop: Shop) -> None:
    """The read model is the fold of the log."""

    async def level() -> list[RecordedEvent] | None:
        # Read each time: a call that was cancelled just now may still be on its way into the log.
        log = await shop.log()
        return log if (await listed(system))["orders"]["position"] == str(len(log)) else None

    log = await until(level, "the projection is level")
    assert not any(audit_read_model(system.read_database, log).values())


async def test_a_rebuild_under_live_commands_and_the_way_back(own_system: System) -> None:
    await own_system.up()
    async with visiting(own_system) as shop:
        await fill(own_system)
        async with living(shop) as seen:
            told = await rebuilt(own_system, "--workers", "2")
            assert told[-1]["phase"] == "REBUILD_PHASE_SWITCHED"
            assert await builds(own_system) == {1: "KEPT", 2: "LIVE"}
            before = len(seen)
            code, out, err = await said(own_system, "rollback", "orders")
            assert code == 0, err
            assert "queries read build 1 of orders again" in out
            assert await builds(own_system) == {1: "LIVE", 2: "KEPT"}
            await until(lambda: len(seen) > before, "orders come in")
        await audited(own_system, shop)
        code, out, err = await said(own_system, "drop", "orders", "--json")
        assert (code, json.loads(out)["builds"]) == (0, [2])
        assert await builds(own_system) == {1: "LIVE"}


async def test_a_build_can_wait_for_its_switch(own_system: System) -> None:
    await own_system.up()
    async with visiting(own_system) as shop:
        await fill(own_system)
        told = await rebuilt(own_system, "--no-switch")
        assert told[-1]["phase"] == "REBUILD_PHASE_LEVEL"
        assert await builds(own_system) == {1: "LIVE", 2: "BUILDING"}
        await fill(own_system, 20)
        code, _, err = await said(own_system, "switch", "orders")
        assert code == 0, err
        assert await builds(own_system) == {1: "KEPT", 2: "LIVE"}
        await audited(own_system, shop)


async def test_a_projector_that_is_killed_in_mid_rebuild_goes_on_with_it(own_system: System) -> None:
    up = await own_system.up()
    async with visiting(own_system) as shop:
        await fill(own_system)
        # Nothing is read, since answers are old while the projector is down.
        async with living(shop, read=False, pause=0.02):
            # The workers take a pause after each batch, so that the blow meets them.
            rebuilding = asyncio.create_task(_rebuild_with_pauses(own_system))
            await until(lambda: len(_workers(own_system)) == 2, "two workers fold", seconds=30)
            await until(lambda: _priorities(own_system) == {NICE}, "they give way to the servers")
            kill_role(up, "projector")
            await until(lambda: not _workers(own_system), "the workers end with the projector", seconds=10)
            await rebuilding

            async def switched() -> bool:
                return await own_system.health("projector") == SERVING and await builds(own_system) == {
                    1: "KEPT",
                    2: "LIVE",
                }

            await until(switched, "the rebuild is done all the same", seconds=60)
            assert role_process(up, "projector") is not None
        await audited(own_system, shop)


async def test_what_cannot_be_done_is_said_in_one_line(own_system: System) -> None:
    await own_system.up()
    for arguments, why in (
        (("rollback", "orders"), "no earlier build of orders was kept"),
        (("switch", "orders"), "orders has no other build"),
        (("drop", "orders", "--build", "1"), "queries read build 1 of orders"),
        (("drop", "orders", "--build", "9"), "projection orders has no build 9"),
    ):
        code, _, err = await said(own_system, *arguments)
        assert (code, err.count("\n")) == (1, 1), err
        assert why in err


def _workers(system: System) -> list[int]:
    return [process.pid for process in system.processes() if "rebuild_worker" in " ".join(words_of(process))]


def _priorities(system: System) -> set[int]:
    return {os.getpriority(os.PRIO_PROCESS, pid) for pid in _workers(system)}


async def _rebuild_with_pauses(system: System) -> None:
    """The call ends when the projector is killed."""
    async with grpc.aio.insecure_channel(system.projector_address) as channel:
        request = pb.RebuildProjectionRequest(projection="orders", workers=2)
        request.pause.FromMilliseconds(800)
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for _ in ProjectionServiceStub(channel).RebuildProjection(request):
                pass


@pytest.mark.postgres
async def test_a_rebuild_on_postgresql_under_live_commands(tmp_path: Path) -> None:
    with postgres_server() as postgres:
        async with postgres_url(postgres) as url, a_system(tmp_path, read_database_url=url) as system:
            await system.up()
            async with visiting(system) as shop:
                await fill(system)
                async with living(shop):
                    told = await rebuilt(system, "--workers", "2")
                assert told[-1]["phase"] == "REBUILD_PHASE_SWITCHED"
                assert await builds(system) == {1: "KEPT", 2: "LIVE"}
                code, out, err = await said(system, "verify", "orders")
                assert code == 0, out + err
