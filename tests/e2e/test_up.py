"""`twofold up`: one command runs everything, keeps it running, and takes it all down again."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import closing

import pytest

from shop.orders.v1.query_service_pb2 import GetOrderRequest
from tests.e2e.conditions import until
from tests.e2e.held_log import nothing_commits
from tests.e2e.shop import a_payment, an_order, visiting
from tests.e2e.systems import ROLES, SERVING, UNREACHABLE, System, kill_role, role_process
from twofold_client import ClientConfig

pytestmark = pytest.mark.timeout(300)

PATIENT = ClientConfig(attempts=5, timeout=30)


async def test_up_prints_each_endpoint_and_then_ready(own_system: System) -> None:
    up = await own_system.up()
    assert [line.split() for line in up.out] == [
        ["nats", own_system.nats_url],
        ["command-server", f"grpc://{own_system.command_address}"],
        ["projector", f"grpc://{own_system.projector_address}"],
        ["query-server", f"grpc://{own_system.query_address}"],
        ["ready"],
    ]
    assert "Traceback" not in up.told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_everything_in_order(own_system: System, number: signal.Signals) -> None:
    up = await own_system.up()
    up.send(number)
    assert await up.ended() == 0
    stopping = [line.rpartition("role=")[2] for line in up.err if " stopping " in line]
    assert stopping == ["query-server", "projector", "command-server"]
    assert own_system.processes() == []
    assert "Traceback" not in up.told
    assert "ERROR" not in up.told


async def test_a_role_that_is_killed_is_started_again_and_that_is_said(own_system: System) -> None:
    up = await own_system.up()
    async with visiting(own_system, config=PATIENT) as shop:
        for role in ROLES:
            before = kill_role(up, role)
            await up.said(f"{role} was ended by SIGKILL; starting it again in 0.5 s")
            await up.said(f"{role} is back")
            process = role_process(up, role)
            assert process is not None
            assert process.pid != before
            order_id = await shop.create()
            shown = await shop.queries.GetOrder(GetOrderRequest(order_id=order_id), wait_for_ready=True)
            assert not shown.read_info.stale
    assert await up.stop() == 0


async def test_a_killed_up_leaves_no_orphan_and_the_next_one_starts(own_system: System) -> None:
    up = await own_system.up()
    async with visiting(own_system) as shop:
        order_id = await shop.create()
    await up.kill()
    await until(lambda: not own_system.processes(), "every role has ended with `up`")

    again = await own_system.up()
    async with visiting(own_system) as shop:
        paid = await shop.commands.PayOrder(a_payment(order_id))
        assert paid.receipt.version == 2
        shown = await shop.queries.GetOrder(GetOrderRequest(order_id=order_id))
        assert shown.order.version == 2
    assert await again.stop() == 0


async def test_up_can_be_stopped_while_it_starts(own_system: System) -> None:
    up = own_system.start("up")
    await until(lambda: len(up.out) >= 2, lambda: f"two roles are there: {up.told}")
    assert await up.stop() == 0
    assert own_system.processes() == []


async def test_what_was_accepted_before_a_stop_is_committed_and_answered(own_system: System) -> None:
    server = await own_system.role("command-server")
    async with visiting(own_system) as shop:
        await shop.create()
        with nothing_commits(own_system):
            calls = [asyncio.ensure_future(shop.commands.CreateOrder(an_order())) for _ in range(20)]
            await shop.head()  # is answered after the calls before it, on the same connection, have begun
            server.send(signal.SIGTERM)
            await until(lambda: any(" stopping " in line for line in server.err), "the server stops")
            assert await own_system.health("command-server") != SERVING
        answers = await asyncio.gather(*calls)
    assert await server.ended() == 0
    assert sorted(answer.receipt.position for answer in answers) == list(range(2, 22))
    assert positions(own_system) == list(range(1, 22))


def positions(system: System) -> list[int]:
    with closing(sqlite3.connect(system.event_database)) as connection:
        return [row[0] for row in connection.execute("SELECT position FROM events ORDER BY position")]


async def test_health_goes_down_before_the_server_does(own_system: System) -> None:
    server = await own_system.role("command-server")
    seen = set()

    async def look() -> bool:
        seen.add(await own_system.health("command-server", "shop.orders.v1.CommandService"))
        return server.exit_code is not None

    server.send(signal.SIGTERM)
    await until(look, "the server has stopped")
    assert await server.ended() == 0
    assert seen <= {"NOT_SERVING", SERVING, UNREACHABLE}
    assert "NOT_SERVING" in seen
