"""Roles on PostgreSQL that is not there yet, goes away, and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from shop.orders.v1.query_service_pb2 import GetOrderRequest
from shop.orders.v1.query_service_pb2_grpc import QueryServiceStub
from tests.e2e.cluster.processes import Cluster, a_cluster
from tests.e2e.cluster.spread import channels
from tests.e2e.conditions import until
from tests.e2e.refusals import refusal
from tests.e2e.shop import an_order
from tests.e2e.systems import SERVING
from twofold.v1.reading_pb2 import ON_STALE_FAIL, ReadOptions
from twofold_client import CallError

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two command servers, of which nothing runs yet."""
    async with a_cluster(tmp_path, servers=2) as found:
        yield found


def is_worth_a_retry(error: CallError) -> bool:
    return error.code == grpc.StatusCode.UNAVAILABLE and error.retry_after is not None


async def test_a_command_server_does_not_start_without_its_log_and_says_why_in_one_line(
    cluster: Cluster,
) -> None:
    server = cluster.servers[0]
    server.start()
    assert await server.program.ended(seconds=60) == 2
    [line] = [line for line in server.program.err if line.startswith("twofold:")]
    assert line.startswith("twofold: the database is not available at the moment: ")
    assert "Traceback" not in server.program.told


async def test_projector_and_query_server_wait_for_their_database(cluster: Cluster) -> None:
    system, history = cluster.system, cluster.servers[0].address
    waiting = [system.start(role, command_address=history) for role in ("projector", "query-server")]
    await until(lambda: all(program.err for program in waiting), "they say that it is away")
    await cluster.start_log()
    for role in ("projector", "query-server"):
        await until(lambda role=role: _serves(cluster, role), f"the {role} serves", seconds=60)  # type: ignore[misc]
    assert [program.exit_code for program in waiting] == [None, None]


async def _serves(cluster: Cluster, role: str) -> bool:
    return await cluster.system.health(role) == SERVING


async def test_callers_are_told_to_come_again_and_service_resumes_by_itself(cluster: Cluster) -> None:
    await cluster.start()
    pids = [program.pid for program in cluster.system.programs]
    async with channels([*cluster.addresses, cluster.system.query_address]) as [first, second, queries]:
        create = [CommandServiceStub(channel).CreateOrder for channel in (first, second)]
        stored = (await create[0](an_order())).receipt
        fresh = ReadOptions(consistency_token=stored.consistency_token, on_stale=ON_STALE_FAIL)
        query = GetOrderRequest(order_id=stored.aggregate_id, read_options=fresh)
        get_order = QueryServiceStub(queries).GetOrder
        assert (await get_order(query)).order.version == 1
        again = an_order()

        cluster.stop_postgres()
        for _ in range(3):
            for each in create:
                error = await refusal(each(again, timeout=30))
                assert is_worth_a_retry(error), error
                assert error.reason == "STORE_UNAVAILABLE"
            assert is_worth_a_retry(await refusal(get_order(query, timeout=30)))

        cluster.start_postgres()
        receipts = [(await each(again, wait_for_ready=True, timeout=60)).receipt for each in create]
        assert [(r.position, r.replayed) for r in receipts] == [(2, False), (2, True)]
        assert (await get_order(query)).order.version == 1
    assert [program.pid for program in cluster.system.programs] == pids, "nothing was started again"
