"""The part of ProjectionService that builds projections anew, switches between builds and drops them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twofold.v1 import projection_service_pb2 as pb
from twofold_server.projections.keeper import Keeper
from twofold_server.projections.projector import Projector
from twofold_server.projections.rebuilding import Plan, Progress
from twofold_server.rpc.projection_overview import ProjectionOverview, duration, not_found


class ProjectionBuilds:
    """RebuildProjection, SwitchProjection, RollbackProjection and DropBuild."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self._overview = ProjectionOverview(projector.status)

    async def rebuild_projection(
        self, request: pb.RebuildProjectionRequest
    ) -> AsyncIterator[pb.RebuildProjectionResponse]:
        """Progress until the build is level or switched to; raises NotFound, Unavailable."""
        plan = Plan(
            workers=request.workers,
            switch=request.switch if request.HasField("switch") else True,
            pause=request.pause.ToMicroseconds() / 1e6,
        )
        async for progress in self._keeper(request.projection).rebuild(plan):
            yield _to_proto(progress)

    async def switch_projection(self, request: pb.SwitchProjectionRequest) -> pb.SwitchProjectionResponse:
        """Raises NotFound, Rejected, Unavailable."""
        await self._keeper(request.projection).switch(request.build)
        return pb.SwitchProjectionResponse(projection=await self._overview.shown(request.projection))

    async def rollback_projection(
        self, request: pb.RollbackProjectionRequest
    ) -> pb.RollbackProjectionResponse:
        """Raises NotFound, Rejected, Unavailable."""
        await self._keeper(request.projection).rollback(at_once=request.at_once)
        return pb.RollbackProjectionResponse(projection=await self._overview.shown(request.projection))

    async def drop_build(self, request: pb.DropBuildRequest) -> pb.DropBuildResponse:
        """Raises NotFound, Rejected, Unavailable."""
        dropped = await self._keeper(request.projection).drop(request.build)
        return pb.DropBuildResponse(builds=dropped, projection=await self._overview.shown(request.projection))

    def _keeper(self, name: str) -> Keeper:
        keepers = self._projector.keepers
        if name not in keepers:
            raise not_found(name, list(keepers))
        return keepers[name]


def _to_proto(progress: Progress) -> pb.RebuildProjectionResponse:
    left = progress.seconds_left
    return pb.RebuildProjectionResponse(
        build=progress.build,
        phase=pb.RebuildPhase.Value(f"REBUILD_PHASE_{progress.phase.name}"),
        position=progress.position,
        head_position=progress.head,
        positions_per_second=progress.rate,
        time_left=duration(left) if left is not None else None,
        workers=progress.workers,
        trouble=progress.trouble,
    )
