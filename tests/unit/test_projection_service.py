"""ProjectionService: parts answer its RPCs, each those that it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest

from twofold.v1 import projection_service_pb2 as pb
from twofold.v1.projection_service_pb2_grpc import ProjectionServiceStub
from twofold_server.errors import NotFound, Unavailable
from twofold_server.projections.status import BuildState, BuildStatus, ProjectionStatus, State
from twofold_server.rpc.health import Health
from twofold_server.rpc.projection_overview import ProjectionOverview
from twofold_server.rpc.projection_service import SERVICE, ProjectionService
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.server import ServerConfig, serving

if TYPE_CHECKING:
    from twofold.v1.projection_service_pb2_grpc import ProjectionServiceAsyncStub

BUILDS = [
    BuildStatus(build=1, version=1, state=BuildState.KEPT, position=70, created_at=0),
    BuildStatus(build=2, version=2, state=BuildState.LIVE, position=90, created_at=1_500_000),
]
SALES = ProjectionStatus(
    name="sales", version=2, state=State.CATCHING_UP, position=90, head=100, recorded_at=1, builds=BUILDS
)
ORDERS = ProjectionStatus(name="orders", version=1, state=State.STARTING, trouble="it has just begun")


async def status() -> list[ProjectionStatus]:
    return [SALES, ORDERS]


class Proof:
    """A part with a stream."""

    async def verify_projection(
        self, request: pb.VerifyProjectionRequest
    ) -> AsyncIterator[pb.VerifyProjectionResponse]:
        for checked in range(3):
            yield pb.VerifyProjectionResponse(progress=pb.VerifyProgress(keys_checked=checked))
        raise NotFound("no such thing", reason="PROJECTION_NOT_FOUND")


@pytest.fixture
async def stub() -> AsyncIterator[ProjectionServiceAsyncStub]:
    service = ProjectionService(
        requests=RequestReader(max_bytes=10_000), parts=[ProjectionOverview(status), Proof()]
    )
    config = ServerConfig(address="127.0.0.1:0", max_message_bytes=10_000, drain_seconds=0)
    handlers = {SERVICE: service.handlers()}
    async with (
        serving(config, handlers, Health(), packages=["twofold.v1"]) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield ProjectionServiceStub(channel)


async def test_projections_are_listed_by_name(stub: ProjectionServiceAsyncStub) -> None:
    answer = await stub.ListProjections(pb.ListProjectionsRequest())
    assert [each.name for each in answer.projections] == ["orders", "sales"]


async def test_a_projection_is_shown_with_its_lag_and_its_builds(stub: ProjectionServiceAsyncStub) -> None:
    shown = (await stub.GetProjection(pb.GetProjectionRequest(projection="sales"))).projection
    assert (shown.live_build, shown.version, shown.lag_positions) == (2, 2, 10)
    assert shown.state == pb.PROJECTION_STATE_CATCHING_UP
    assert shown.lag.seconds > 1_000_000_000
    assert [build.state for build in shown.builds] == [pb.BUILD_STATE_KEPT, pb.BUILD_STATE_LIVE]
    assert shown.builds[1].create_time.ToMilliseconds() == 1500


async def test_an_unknown_projection_is_not_found_and_the_known_ones_are_named(
    stub: ProjectionServiceAsyncStub,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="there are orders, sales") as caught:
        await stub.GetProjection(pb.GetProjectionRequest(projection="nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_request_that_breaks_its_rules_is_refused(stub: ProjectionServiceAsyncStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetProjection(pb.GetProjectionRequest())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_part_streams_and_its_errors_are_told(stub: ProjectionServiceAsyncStub) -> None:
    call = aiter(stub.VerifyProjection(pb.VerifyProjectionRequest(projection="sales")))
    assert [(await anext(call)).progress.keys_checked for _ in range(3)] == [0, 1, 2]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(call)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_what_no_part_answers_is_unimplemented(stub: ProjectionServiceAsyncStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ExplainRow(pb.ExplainRowRequest(projection="sales", key=["1"]))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_store_that_is_away_is_unavailable() -> None:
    async def away() -> list[ProjectionStatus]:
        raise Unavailable("the database is away", reason="STORE_UNAVAILABLE")

    with pytest.raises(Unavailable):
        await ProjectionOverview(away).list_projections(pb.ListProjectionsRequest())
