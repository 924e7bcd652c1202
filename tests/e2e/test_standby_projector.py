"""Of two projectors on one PostgreSQL one works; the other follows when it is killed. Never both write."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import grpc
import pytest

from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from shop.orders.v1.views_pb2 import Order
from tests.e2e.cluster.processes import READ, Cluster, a_cluster
from tests.e2e.cluster.spread import channels
from tests.e2e.conditions import until
from tests.e2e.ports import lasting_port
from tests.e2e.programs import Program
from tests.e2e.shop import a_payment, an_order
from tests.e2e.systems import SERVING, health_of
from tests.order_histories import folded
from twofold.v1 import projection_service_pb2 as pb
from twofold.v1.event_service_pb2 import ReadEventsRequest
from twofold.v1.event_service_pb2_grpc import EventServiceStub
from twofold.v1.projection_service_pb2_grpc import ProjectionServiceStub
from twofold_server.event_store.envelope import from_proto
from twofold_server.event_store.events import RecordedEvent

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]
BOOKKEEPING = """
CREATE TABLE writes (n bigserial, projection text, epoch bigint, position bigint);
CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO writes (projection, epoch, position) VALUES (NEW.projection, NEW.epoch, NEW.position);
  RETURN NEW; END $$;
CREATE TRIGGER note_write AFTER UPDATE ON projection_builds FOR EACH ROW EXECUTE FUNCTION note_write();
"""


class ProjectorProcess:
    """One of several projectors."""

    def __init__(self, cluster: Cluster, **settings: str) -> None:
        self.address = f"127.0.0.1:{lasting_port()}"
        self._cluster = cluster
        self._settings = settings
        self._program: Program | None = None

    @property
    def program(self) -> Program:
        assert self._program is not None
        return self._program

    async def start(self) -> None:
        """Start it and wait until it is well: at work, or standing by."""
        self._program = self._cluster.system.start(
            "projector",
            projector_address=self.address,
            command_address=self._cluster.addresses[0],
            log_level="info",
            **self._settings,
        )
        await until(self._serves, lambda: f"the projector serves: {self.program.told}")

    async def _serves(self) -> bool:
        return await health_of(self.address, "twofold.projector") == SERVING

    async def states(self) -> dict[str, int]:
        """How its projections are."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = ProjectionServiceStub(channel)
            found = await stub.ListProjections(pb.ListProjectionsRequest(), timeout=30)
        return {each.name: each.state for each in found.projections}

    async def works(self) -> bool:
        """Whether it keeps the orders up to date."""
        return (await self.states())["orders"] in (
            pb.PROJECTION_STATE_LEVEL,
            pb.PROJECTION_STATE_CATCHING_UP,
        )


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """One command server; no projector runs yet."""
    async with a_cluster(tmp_path, servers=1) as found:
        await found.start_log()
        yield found


@pytest.fixture
async def store(cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    """The read store, as an operator sees it."""
    connection = await asyncpg.connect(cluster.postgres.dsn(READ))
    try:
        yield connection
    finally:
        await connection.close()


async def trade(cluster: Cluster, stop: asyncio.Event) -> None:
    """Orders come in until it is enough."""
    async with channels([cluster.addresses[0]]) as [channel]:
        commands = CommandServiceStub(channel)
        while not stop.is_set():
            created = await commands.CreateOrder(an_order(), timeout=30)
            await commands.PayOrder(a_payment(created.receipt.aggregate_id), timeout=30)


async def log_of(cluster: Cluster) -> list[RecordedEvent]:
    async with channels([cluster.addresses[0]]) as [channel]:
        answers = EventServiceStub(channel).ReadEvents(ReadEventsRequest())
        return [from_proto(event) async for answer in answers for event in answer.events]


async def position(store: asyncpg.Connection) -> int:
    found: int = await store.fetchval(
        "SELECT position FROM projection_builds WHERE projection = 'orders' AND state = 'live'"
    )
    return found


async def moves_on(store: asyncpg.Connection) -> None:
    """The read model of orders goes on from where it is."""
    before = await position(store)

    async def further() -> bool:
        return await position(store) > before

    await until(further, "the orders move on")


async def is_the_fold(cluster: Cluster, store: asyncpg.Connection) -> None:
    """All rows of orders are the fold of the log."""
    log = await log_of(cluster)

    async def level() -> bool:
        return await position(store) == len(log)

    await until(level, "the orders are level with the log")
    rows = await store.fetch("SELECT order_id, view FROM orders")
    assert {row["order_id"]: Order.FromString(row["view"]) for row in rows} == folded(log)


async def test_a_projector_that_is_killed_is_followed_by_the_one_that_stands_by(
    cluster: Cluster, store: asyncpg.Connection
) -> None:
    active, standby = ProjectorProcess(cluster), ProjectorProcess(cluster)
    await active.start()
    await store.execute(BOOKKEEPING)
    await standby.start()
    assert set((await standby.states()).values()) == {pb.PROJECTION_STATE_STANDBY}
    stop = asyncio.Event()
    trading = asyncio.create_task(trade(cluster, stop))
    for _ in range(3):
        assert await active.works()
        await moves_on(store)
        active.program.send(signal.SIGKILL)
        await active.program.ended()
        await until(standby.works, "the other takes over")
        await moves_on(store)
        active, standby = standby, active
        await standby.start()
    stop.set()
    await trading
    await is_the_fold(cluster, store)
    await never_both_wrote(store)


async def test_a_projector_that_was_frozen_is_fenced_out_and_stands_by(
    cluster: Cluster, store: asyncpg.Connection
) -> None:
    frozen, other = ProjectorProcess(cluster), ProjectorProcess(cluster)
    await frozen.start()
    await store.execute(BOOKKEEPING)
    await other.start()
    stop = asyncio.Event()
    trading = asyncio.create_task(trade(cluster, stop))
    await moves_on(store)
    frozen.program.send(signal.SIGSTOP)
    await until(other.works, "the other takes over")
    await moves_on(store)
    frozen.program.send(signal.SIGCONT)

    async def stands_by() -> bool:
        return (await frozen.states())["orders"] == pb.PROJECTION_STATE_STANDBY

    await until(stands_by, lambda: f"the frozen one stands by: {frozen.program.told}")
    stop.set()
    await trading
    await is_the_fold(cluster, store)
    await never_both_wrote(store)


async def never_both_wrote(store: asyncpg.Connection) -> None:
    """In the order of their transactions, epochs and positions of each projection only grow."""
    rows = await store.fetch("SELECT projection, epoch, position FROM writes ORDER BY n")
    for projection in {row["projection"] for row in rows}:
        mine = [(row["epoch"], row["position"]) for row in rows if row["projection"] == projection]
        assert mine == sorted(mine)
        assert [place for _, place in mine] == sorted(place for _, place in mine)
    assert len({row["epoch"] for row in rows if row["projection"] == "orders"}) > 1


async def test_projections_are_spread_over_projectors(cluster: Cluster, store: asyncpg.Connection) -> None:
    sales, rest = ProjectorProcess(cluster, projections="orders"), ProjectorProcess(cluster)
    await sales.start()
    assert set(await sales.states()) == {"orders"}
    await rest.start()
    states = await rest.states()
    assert states.pop("orders") == pb.PROJECTION_STATE_STANDBY
    assert pb.PROJECTION_STATE_STANDBY not in states.values()
    unknown = cluster.system.start("projector", projections="no_such", command_address=cluster.addresses[0])
    assert await unknown.ended() == 2
    assert "TWOFOLD_PROJECTIONS names the projection no_such; there are" in unknown.told
