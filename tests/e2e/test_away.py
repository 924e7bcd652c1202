"""What a role needs may be away, at its start or later: it goes on as far as it can, and says so."""

from __future__ import annotations

import grpc
import nats
import pytest
from nats.js import JetStreamContext

from shop.orders.v1.query_service_pb2 import GetOrderRequest
from tests.e2e.conditions import until
from tests.e2e.refusals import refusal
from tests.e2e.shop import new_id, visiting
from tests.e2e.systems import NOT_SERVING, SERVING, System
from tests.nats_server import NatsServer, nats_server

pytestmark = pytest.mark.timeout(300)

COMMANDS = "shop.orders.v1.CommandService"
RELAY = "twofold.relay"


async def published(js: JetStreamContext) -> int:
    return (await js.stream_info("TWOFOLD_EVENTS")).state.last_seq


async def test_commands_go_on_without_nats_and_are_published_when_it_comes(own_system: System) -> None:
    async with nats_server(started=False) as broker:
        await own_system.role("command-server", nats_url=broker.url)
        assert await own_system.health("command-server", RELAY) == NOT_SERVING
        assert await own_system.health("command-server", COMMANDS) == SERVING
        async with visiting(own_system) as shop:
            for _ in range(20):
                await shop.create()
            await broker.start()
            await reaches(own_system, RELAY, SERVING)
            assert await shop.head() == 20
            await everything_is_published(broker, 20)

            broker.kill()
            await reaches(own_system, RELAY, NOT_SERVING)
            assert await own_system.health("command-server", COMMANDS) == SERVING
            for _ in range(20):
                await shop.create()
            await broker.start()
            await reaches(own_system, RELAY, SERVING)
            await everything_is_published(broker, 40)


async def reaches(system: System, service: str, status: str) -> None:
    async def is_there() -> bool:
        return await system.health("command-server", service) == status

    await until(is_there, f"{service} is {status}", seconds=60)


async def everything_is_published(broker: NatsServer, head: int) -> None:
    client = await nats.connect(broker.url)
    try:
        js = client.jetstream()

        async def all_there() -> bool:
            return await published(js) == head

        await until(all_there, f"{head} events are published")
    finally:
        await client.close()


async def test_orders_can_be_read_though_nats_never_came(own_system: System) -> None:
    async with nats_server(started=False) as broker:
        for role in ("command-server", "projector", "query-server"):
            await own_system.role(role, nats_url=broker.url)
        async with visiting(own_system) as shop:
            for _ in range(5):
                order_id = await shop.create()
                shown = await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))
                assert not shown.read_info.stale
                assert shown.order.order_id == order_id


async def test_roles_may_start_in_any_order(own_system: System) -> None:
    async with nats_server() as broker:
        query_server = own_system.start("query-server", nats_url=broker.url)
        await is_not_serving_yet(own_system, "query-server")
        projector = own_system.start("projector", nats_url=broker.url)
        await is_not_serving_yet(own_system, "projector")
        async with visiting(own_system) as shop:
            error = await refusal(shop.queries.GetOrder(GetOrderRequest(order_id=new_id())))
            assert error.code == grpc.StatusCode.UNAVAILABLE
            assert error.retry_after is not None

            await own_system.role("command-server", nats_url=broker.url)
            for role in ("projector", "query-server"):
                await until(
                    lambda role=role: serves(own_system, role),  # type: ignore[misc]
                    lambda: f"all serve: {query_server.told}\n{projector.told}",
                )
            order_id = await shop.create()
            shown = await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))
            assert shown.order.order_id == order_id


async def serves(system: System, role: str) -> bool:
    return await system.health(role) == SERVING


async def is_not_serving_yet(system: System, role: str) -> None:
    async def answers() -> bool:
        return await system.health(role) == NOT_SERVING

    await until(answers, f"{role} is there and not serving", seconds=60)


async def test_orders_can_be_read_though_everything_else_is_gone(own_system: System) -> None:
    up = await own_system.up()
    async with visiting(own_system) as shop:
        order_id = await shop.create()
        await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))
    assert await up.stop() == 0
    await own_system.role("query-server")
    async with visiting(own_system) as shop:
        shown = await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))
        assert shown.order.order_id == order_id


async def test_a_read_database_that_was_removed_is_built_anew(own_system: System) -> None:
    up = await own_system.up()
    async with visiting(own_system) as shop:
        orders = [await shop.create() for _ in range(10)]
    assert await up.stop() == 0
    remove_read_database(own_system)
    await own_system.up()
    async with visiting(own_system) as shop:
        await shop.create()
        for order_id in orders:
            assert (await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))).order.version == 1


def remove_read_database(system: System) -> None:
    for file in system.data_dir.glob("read.db*"):
        file.unlink()
