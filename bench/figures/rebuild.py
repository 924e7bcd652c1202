"""A rebuild of one projection beside the live one, with two workers beside one.

NATS, command server and projector run. The rate is from the call to the moment when the new build is level
with the log; it is dropped then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

import grpc

from bench.report import Line, at_least, ratio
from bench.run import Run
from bench.stores import filled, on_postgres, sqlite
from bench.turns import in_turns
from twofold.v1.projection_service_pb2 import DropBuildRequest, RebuildPhase, RebuildProjectionRequest
from twofold.v1.projection_service_pb2_grpc import ProjectionServiceStub

EVENTS, EVENTS_FULL = 100_000, 1_000_000
PROJECTION = "orders"


def measure(run: Run) -> Sequence[Line]:
    """The rates, and their ratios."""
    count = EVENTS_FULL if run.full else EVENTS
    lines: list[Line] = []
    for name, database in (("SQLite", sqlite), ("PostgreSQL", on_postgres)):
        with database(run) as settings, filled(run, count, settings=settings) as system:
            address = system.settings.projector_address
            found = in_turns(
                run, {workers: partial(rebuild, address, count, workers=workers) for workers in (1, 2)}
            )
        lines += [Line(what=f"{name}, one worker", rounds=found[1], unit="/s")]
        lines += [Line(what=f"{name}, two workers", rounds=found[2], unit="/s")]
        lines += [ratio("two workers ÷ one", found[2], found[1], at_least(1.6))]
    return lines


def rebuild(address: str, events: int, *, workers: int) -> float:
    """Build the projection anew without switching to it; events a second."""
    return asyncio.run(_rebuild(address, events, workers))


async def _rebuild(address: str, events: int, workers: int) -> float:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ProjectionServiceStub(channel)
        began, build = time.perf_counter(), 0
        request = RebuildProjectionRequest(projection=PROJECTION, workers=workers, switch=False)
        async for progress in stub.RebuildProjection(request):
            build = progress.build
            if progress.phase == RebuildPhase.REBUILD_PHASE_LEVEL:
                break
        seconds = time.perf_counter() - began
        await stub.DropBuild(DropBuildRequest(projection=PROJECTION, build=build))
    return events / seconds
