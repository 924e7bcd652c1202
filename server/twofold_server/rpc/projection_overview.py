"""The part of ProjectionService that shows projections."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from twofold.v1 import projection_service_pb2 as pb
from twofold_server.errors import NotFound
from twofold_server.projections.status import BuildStatus, ProjectionStatus


class ProjectionOverview:
    """ListProjections and GetProjection."""

    def __init__(self, status: Callable[[], Awaitable[Sequence[ProjectionStatus]]]) -> None:
        """``status`` tells of every projection; it may raise Unavailable."""
        self._status = status

    async def list_projections(self, request: pb.ListProjectionsRequest) -> pb.ListProjectionsResponse:
        """Every projection, by name."""
        found = sorted(await self._status(), key=lambda status: status.name)
        return pb.ListProjectionsResponse(projections=[to_proto(status) for status in found])

    async def get_projection(self, request: pb.GetProjectionRequest) -> pb.GetProjectionResponse:
        """One projection; raises NotFound."""
        return pb.GetProjectionResponse(projection=await self.shown(request.projection))

    async def shown(self, name: str) -> pb.Projection:
        """How a projection is by now; raises NotFound."""
        found = {status.name: status for status in await self._status()}
        if name not in found:
            raise not_found(name, found)
        return to_proto(found[name])


def not_found(name: str, there_are: Sequence[str] | dict[str, ProjectionStatus]) -> NotFound:
    """What a caller is told of a projection that this projector does not run."""
    return NotFound(
        f"there is no projection {name}; there are {', '.join(sorted(there_are))}",
        reason="PROJECTION_NOT_FOUND",
        metadata={"projection": name},
    )


def to_proto(status: ProjectionStatus) -> pb.Projection:
    """A projection as the contract tells it."""
    behind = max(0, status.head - status.position)
    return pb.Projection(
        name=status.name,
        version=status.version,
        live_build=status.live_build,
        state=pb.ProjectionState.Value(f"PROJECTION_STATE_{status.state.name}"),
        position=status.position,
        head_position=status.head,
        lag_positions=behind,
        lag=duration(time.time() - status.recorded_at / 1e6 if behind and status.recorded_at else 0),
        sync=status.sync,
        trouble=status.trouble,
        builds=[_build(build) for build in status.builds],
        dead_letter_count=status.dead_letters,
    )


def _build(status: BuildStatus) -> pb.ProjectionBuild:
    created = Timestamp()
    created.FromMicroseconds(status.created_at)
    return pb.ProjectionBuild(
        build=status.build,
        version=status.version,
        state=pb.BuildState.Value(f"BUILD_STATE_{status.state.name}"),
        position=status.position,
        create_time=created if status.created_at else None,
        trouble=status.trouble,
    )


def duration(seconds: float) -> Duration:
    """A time as protobuf has it, never negative."""
    found = Duration()
    found.FromMicroseconds(max(0, int(seconds * 1e6)))
    return found
