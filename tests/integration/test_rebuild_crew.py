"""Workers of a rebuild, started by a process that is busy with calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from twofold_server.app import rebuild_crew
from twofold_server.app.rebuild_crew import ProcessCrew
from twofold_server.projections.crew import WorkersFailed
from twofold_server.projections.parts import Part
from twofold_server.settings import Settings

REBUILDS = 12


@contextlib.asynccontextmanager
async def busy_with_calls() -> AsyncIterator[None]:
    """This process serves gRPC and calls itself all the while."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def calls() -> None:
        while True:  # on new connections now and then, as those of readers and operators
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                for _ in range(200):
                    await check(health_pb2.HealthCheckRequest())

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(calls()) for _ in range(4)]
        yield
        for caller in callers:
            caller.cancel()
    await server.stop(0)


def part(number: int) -> Part:
    return Part(
        projection="orders",
        build=1,
        part=number,
        partitions=(number,),
        epoch=1,
        position=0,
        target=1000 + number,
    )


def test_every_worker_begins_however_busy_the_projector_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_crew, "_WORKER", "tests.integration.idle_worker")
    told: list[tuple[int, int]] = []

    async def rebuild() -> None:
        crew = ProcessCrew(Settings(data_dir=tmp_path))
        async with busy_with_calls():
            for _ in range(REBUILDS):
                await crew.fold([part(0), part(1)], pause=0, tell=lambda *what: told.append(what))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as a role runs
        runner.run(rebuild())
    assert sorted(told) == [(0, 1000)] * REBUILDS + [(1, 1001)] * REBUILDS


def test_a_worker_that_fails_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_crew, "_WORKER", "tests.integration.no_such_worker")

    async def rebuild() -> None:
        crew = ProcessCrew(Settings(data_dir=tmp_path))
        await crew.fold([part(0), part(1)], pause=0, tell=lambda number, position: None)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(WorkersFailed) as failed:
        runner.run(rebuild())
    assert "ended with exit code 1" in str(failed.value)
