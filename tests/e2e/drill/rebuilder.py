"""Read models that are built anew, one after the other, whatever happens meanwhile; and their proof."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from tests.e2e.drill.audit import Findings
from tests.e2e.drill.journal import Journal
from twofold.v1 import projection_service_pb2 as pb
from twofold.v1.projection_service_pb2_grpc import ProjectionServiceStub

PROJECTIONS = ("orders", "order_sales", "order_search")
_PAUSE_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0


class Rebuilder:
    """An operator who always builds some read model anew, and drops what was there before."""

    def __init__(self, address: str, journal: Journal) -> None:
        """``address`` is that of the projector."""
        self._address = address
        self._journal = journal

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until told to stop; a call that breaks is made again."""
        async with _service(self._address) as projections:
            for name in itertools.cycle(PROJECTIONS):
                while not stop.is_set():
                    try:
                        await self._rebuild(projections, name)
                        break
                    except grpc.aio.AioRpcError as error:
                        self._journal.counts[f"rebuild broken: {error.code().name}"] += 1
                        await asyncio.sleep(_PAUSE_SECONDS)
                if stop.is_set():
                    return

    async def _rebuild(self, projections: Any, name: str) -> None:
        asked = pb.RebuildProjectionRequest(projection=name, workers=2)
        async for _ in projections.RebuildProjection(asked, timeout=_PATIENCE_SECONDS):
            pass
        self._journal.counts["read models built anew and switched to"] += 1
        told = await projections.GetProjection(pb.GetProjectionRequest(projection=name), timeout=10)
        for build in told.projection.builds:
            if build.state == pb.BUILD_STATE_KEPT:
                await projections.DropBuild(
                    pb.DropBuildRequest(projection=name, build=build.build), timeout=10
                )


async def audit_by_verify(address: str) -> Findings:
    """What the projector itself finds when it folds the whole log again: every row, and the rules."""
    async with _service(address) as projections:
        return {
            f"differences that verify finds in {name}": await _differences(projections, name)
            for name in PROJECTIONS
        }


async def _differences(projections: Any, name: str) -> int:
    """Verified again where a rebuild that the last blow broke off has gone on, and switches meanwhile."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        found = -1
        try:
            async for answer in projections.VerifyProjection(pb.VerifyProjectionRequest(projection=name)):
                if answer.HasField("summary"):
                    found = answer.summary.differences
            return found
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > give_up:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def _service(address: str) -> AsyncIterator[Any]:
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield ProjectionServiceStub(channel)
