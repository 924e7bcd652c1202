"""Health and reflection: what every server says of itself."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from tests.e2e.shop import an_order
from tests.e2e.systems import SERVING, System

SERVICES = [
    ("command-server", ""),
    ("command-server", "shop.orders.v1.CommandService"),
    ("command-server", "twofold.v1.EventService"),
    ("command-server", "twofold.relay"),
    ("query-server", ""),
    ("query-server", "shop.orders.v1.QueryService"),
    ("projector", ""),
    ("projector", "twofold.projector"),
]


@pytest.mark.parametrize(("role", "service"), SERVICES)
async def test_each_service_is_serving_under_its_full_name(system: System, role: str, service: str) -> None:
    assert await system.health(role, service) == SERVING


@pytest.mark.parametrize("role", ["command-server", "query-server", "projector"])
async def test_the_health_of_an_unknown_service_is_not_found(system: System, role: str) -> None:
    assert await system.health(role, "no.such.Service") == "SERVICE_UNKNOWN"


async def test_health_can_be_watched(system: System) -> None:
    async with grpc.aio.insecure_channel(system.command_address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service="shop.orders.v1.CommandService"), timeout=30
        )
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()


async def test_a_service_of_another_server_is_unimplemented(system: System) -> None:
    async with grpc.aio.insecure_channel(system.query_address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await CommandServiceStub(channel).CreateOrder(an_order(), timeout=30)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
