"""The projector on a real NATS server and a real event service: either may go, the read model stays true."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext
from sqlalchemy import Connection, delete, select, update

from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.tables import OrderRow
from tests.nats_server import NatsServer, free_port, nats_server
from tests.order_histories import History, folded, order_codec
from twofold_server.broker import nats_client
from twofold_server.database import Database, open_database
from twofold_server.database.turns import Turns
from twofold_server.event_store.appending import Append, Appended, Basis
from twofold_server.event_store.events import NewEvent, RecordedEvent
from twofold_server.event_store.expected_version import Any as AnyVersion
from twofold_server.event_store.feed import Feed
from twofold_server.event_store.memory import MemoryEventStore
from twofold_server.projections.checkpoints import builds, read_checkpoint
from twofold_server.projections.event_log import open_event_log
from twofold_server.projections.jetstream import JetStreamHints
from twofold_server.projections.loop import Pace
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.parking import Patience
from twofold_server.projections.projector import Projector
from twofold_server.projections.schema import prepare
from twofold_server.projections.sources import Hints
from twofold_server.projections.strategies import parse
from twofold_server.publishing.config import RelayConfig
from twofold_server.publishing.headers import recorded_event, source_of
from twofold_server.publishing.relay import Relay
from twofold_server.publishing.stream import STREAM
from twofold_server.rpc.event_service import SERVICE, EventService
from twofold_server.rpc.health import Health
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.server import ServerConfig, serving

pytestmark = pytest.mark.timeout(60)
QUICK = Pace(silence=0.3, stalled=2, retry=0.02, max_retry=0.1)


class CommandServer:
    """What a projector sees of a command server: a log that grows, a relay, an event service."""

    def __init__(self, broker: NatsServer) -> None:
        self.store = MemoryEventStore()
        self.feed = Feed(self.store.log_id, 0)
        self.address = f"127.0.0.1:{free_port()}"
        self.relay = Relay(store=self.store, config=RelayConfig(servers=[broker.url], check_seconds=0.1))
        self._history = History()
        self._service = AsyncExitStack()

    async def happens(self, count: int, *, published: bool = True) -> None:
        """Random events are committed."""
        known = len(self._history.events)
        self._history.grow(count, seed=known)
        await self._commit(known, published=published)

    async def nonsense(self) -> None:
        """An order is paid that there never was."""
        known = len(self._history.events)
        self._history.paid("nobody")
        await self._commit(known, published=True)

    async def _commit(self, known: int, *, published: bool) -> None:
        events: list[RecordedEvent] = []
        for outcome in await self.store.append([_append(e) for e in self._history.events[known:]]):
            assert isinstance(outcome, Appended)
            events += outcome.events
        self.feed.publish(events)
        if published:
            self.relay.offer(events)

    async def log(self) -> list[RecordedEvent]:
        """The whole log."""
        return await self.store.read_events(0, limit=1_000_000)

    async def start_service(self) -> None:
        """Serve the log."""
        service = EventService(
            store=self.store,
            feed=self.feed,
            codec=order_codec(),
            requests=RequestReader(max_bytes=4 * 1024 * 1024),
        )
        config = ServerConfig(address=self.address, max_message_bytes=4 * 1024 * 1024, drain_seconds=0)
        handlers = {SERVICE: service.handlers()}
        await self._service.enter_async_context(serving(config, handlers, Health(), packages=["twofold.v1"]))

    async def stop_service(self) -> None:
        """The command server is gone, as far as the projector can see."""
        await self._service.aclose()


def _append(event: RecordedEvent) -> Append:
    new = NewEvent(event.event_id, event.type_name, event.revision, event.data, event.metadata)
    return Append(event.stream_name, AnyVersion(), [new], lambda position: b"", Basis())


class World:
    """Everything that the tests play with."""

    def __init__(self, broker: NatsServer, commands: CommandServer, database: Database) -> None:
        self.broker = broker
        self.commands = commands
        self.database = database

    async def position(self) -> int:
        """How far the read model is."""
        found = await self.database.read(lambda c: read_checkpoint(c, "orders"))
        return found.position if found else -1

    async def jumps_back(self) -> None:
        """The read store is as it was before the first event, as if an old backup had been restored."""

        def work(connection: Connection) -> None:
            for table in orders_projection.tables:
                connection.execute(delete(table))
            connection.execute(update(builds).values(position=0, recorded_at=0, head=0))

        await self.database.write(work)

    async def becomes_level(self, *, without: str = "") -> None:
        """The read model becomes the fold of the log, but for one stream."""
        log = await self.commands.log()
        async with asyncio.timeout(20):
            while await self.position() < len(log):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        told = [event for event in log if event.stream_name != without]
        assert await self.database.read(_orders) == folded(told)

    @asynccontextmanager
    async def projector(
        self,
        sync: str = "eventual",
        *,
        between: Callable[[Hints], Hints] = lambda hints: hints,
        turns: Turns | None = None,
        version: int = 1,
    ) -> AsyncIterator[Projector]:
        """A projector at work; ``between`` may spoil what comes from the broker."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(nats_client([self.broker.url], name="projector"))
            log = await stack.enter_async_context(open_event_log(self.commands.address))
            projector = Projector(
                database=self.database,
                projections=[replace(orders_projection, version=version)],
                codec=order_codec(),
                log=log,
                hints=lambda: between(
                    JetStreamHints(
                        client=client, stream=STREAM, decode=recorded_event, source_of=source_of, batch=50
                    )
                ),
                notices=ProgressNotices(client),
                pace=QUICK,
                patience=Patience(attempts=2, pause=0.01),
                strategies={"orders": parse(sync)},
                turns=turns,
            )
            async with asyncio.TaskGroup() as group:  # so that a projector that fails ends the test
                task = group.create_task(projector.run())
                yield projector
                task.cancel()


def _orders(connection: Connection) -> dict[str, Order]:
    rows = connection.execute(select(OrderRow.order_id, OrderRow.view)).all()
    return {order_id: Order.FromString(view) for order_id, view in rows}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(nats_server())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        commands = CommandServer(broker)
        database = await stack.enter_async_context(
            open_database(f"sqlite+aiosqlite:///{folder}/read.db", synchronous="NORMAL")
        )
        await database.write(lambda c: prepare(c, [orders_projection]))
        await commands.start_service()
        relaying = asyncio.create_task(commands.relay.run())
        try:
            yield World(broker, commands, database)
        finally:
            while not relaying.done():  # nats-py may swallow a cancellation
                relaying.cancel()
                await asyncio.wait([relaying], timeout=0.1)
            await commands.stop_service()


@asynccontextmanager
async def operator(broker: NatsServer) -> AsyncIterator[JetStreamContext]:
    """The view of an operator."""
    client = await nats.connect(broker.url, allow_reconnect=False)
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def is_hinted(world: World) -> None:
    """Events reach the projector through JetStream, without the event service."""
    await world.commands.stop_service()
    await world.commands.happens(20)
    await world.becomes_level()


async def test_history_then_live_events(world: World) -> None:
    await world.commands.happens(1200)
    async with world.projector() as projector:
        await world.becomes_level()
        for _ in range(5):
            await world.commands.happens(30)
        await world.becomes_level()
        assert projector.trouble == ""
        await is_hinted(world)


async def test_events_arrive_while_nats_is_away_and_come_from_it_again_afterwards(world: World) -> None:
    async with world.projector():
        await world.commands.happens(50)
        await world.becomes_level()
        world.broker.kill()
        await world.commands.happens(50)
        await world.becomes_level()
        await world.broker.start()
        await world.commands.relay.drained()
        await is_hinted(world)


async def test_the_projector_starts_without_nats(world: World) -> None:
    world.broker.kill()
    await world.commands.happens(50)
    async with world.projector() as projector:
        await world.becomes_level()
        assert projector.trouble == ""


async def test_the_projector_waits_for_a_command_server_that_is_not_there_yet(world: World) -> None:
    await world.commands.stop_service()
    await world.commands.happens(50)
    async with world.projector() as projector:
        async with asyncio.timeout(10):
            while "does not send the log" not in projector.trouble:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await world.commands.start_service()
        await world.becomes_level()
        assert projector.trouble == ""


async def test_a_consumer_that_is_deleted_is_made_anew(world: World) -> None:
    async with world.projector():
        await world.commands.happens(50)
        await world.becomes_level()
        async with operator(world.broker) as js:
            for consumer in await js.consumers_info(STREAM):
                await js.delete_consumer(STREAM, consumer.name)
        await is_hinted(world)


async def test_a_long_absence_is_made_good_from_nats_alone(world: World) -> None:
    async with world.projector():
        await world.commands.happens(10)
        await world.becomes_level()
    await world.commands.happens(1500)
    await world.commands.relay.drained()
    await world.commands.stop_service()
    async with world.projector() as projector:
        await world.becomes_level()
        assert projector.trouble == ""


async def test_a_broker_that_restarts_is_enough_to_go_on(world: World) -> None:
    async with world.projector():
        await world.commands.happens(50)
        await world.becomes_level()
        await world.commands.stop_service()
        world.broker.kill()
        await world.commands.happens(50)
        await world.broker.start()
        await world.becomes_level()


@pytest.mark.parametrize("harm", ["purge", "delete"])
async def test_a_stream_that_is_emptied_loses_nothing(world: World, harm: str) -> None:
    async with world.projector():
        await world.commands.happens(50)
        await world.becomes_level()
        async with operator(world.broker) as js:
            await (js.purge_stream(STREAM) if harm == "purge" else js.delete_stream(STREAM))
        await world.commands.happens(50)
        await world.becomes_level()
        await is_published(world)
        await is_hinted(world)


async def is_published(world: World) -> None:
    """The stream ends where the log ends."""
    async with asyncio.timeout(20), operator(world.broker) as js:
        while True:
            with contextlib.suppress(nats.errors.Error):
                state = (await js.stream_info(STREAM)).state
                if state.last_seq == len(await world.commands.log()):
                    return
            await asyncio.sleep(0.05)


async def test_events_that_never_reach_the_broker_come_from_the_log(world: World) -> None:
    async with world.projector():
        await world.commands.happens(10)
        await world.becomes_level()
        await world.commands.happens(10, published=False)
        await world.becomes_level()


async def test_messages_of_another_log_are_not_taken(world: World) -> None:
    await world.commands.happens(10)
    async with world.projector():
        await world.becomes_level()
        await is_published(world)
        forged = {
            "ce-source": source_of("another"),
            "ce-position": "11",
            "ce-subject": "order-1",
            "ce-streamversion": "1",
            "ce-id": "x",
            "ce-type": "shop.orders.v1.OrderPaid",
            "ce-revision": "1",
            "ce-time": "2026-01-01T00:00:00Z",
        }
        async with operator(world.broker) as js:
            await js.publish("twofold.events.0.shop-orders-v1.OrderPaid", b"", headers=forged)
        await world.commands.happens(10)
        await world.becomes_level()


async def test_a_batched_projection_waits_for_company(world: World) -> None:
    await world.commands.happens(5)
    await is_published(world)
    async with world.projector("batched(40, 3600)") as projector:
        await world.becomes_level()
        for _ in range(3):
            await world.commands.happens(10)
            await is_published(world)
            assert await world.position() == 5
        await world.commands.happens(10)
        await world.becomes_level()
        assert projector.trouble == ""


async def test_a_batched_projection_waits_no_longer_than_it_may(world: World) -> None:
    async with world.projector("batched(1000, 0.2)"):
        await world.commands.happens(30)
        await world.becomes_level()


async def test_a_scheduled_projection_is_brought_up_to_date_when_it_is_time(world: World) -> None:
    async with world.projector("scheduled(0.5)") as projector:
        for _ in range(3):
            await world.commands.happens(20)
            await world.becomes_level()
        assert projector.trouble == ""
        await world.commands.stop_service()
        await world.commands.happens(20)
        await is_troubled(projector, "does not send the log")
        await world.commands.start_service()
        await world.becomes_level()
        await is_well(projector)


async def is_troubled(projector: Projector, why: str) -> None:
    """The projector says so in the end."""
    async with asyncio.timeout(20):
        while why not in projector.trouble:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def is_well(projector: Projector) -> None:
    """The projector recovers."""
    async with asyncio.timeout(20):
        while projector.trouble:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_each_batch_is_told_on_core_nats(world: World) -> None:
    told: list[dict[str, Any]] = []

    async def hear(message: Any) -> None:
        told.append(json.loads(message.data))

    client = await nats.connect(world.broker.url, allow_reconnect=False)
    try:
        await client.subscribe("twofold.progress.orders", cb=hear)
        await client.flush()
        async with world.projector():
            for _ in range(5):
                await world.commands.happens(12)
                await world.becomes_level()
            async with asyncio.timeout(20):
                while not told or told[-1]["position"] < 60:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
    finally:
        await client.close()
    last = (await world.commands.log())[-1]
    assert (
        told[-1].items()
        >= {
            "log_id": world.commands.store.log_id,
            "position": last.position,
            "recorded_at": last.recorded_at,
            "head": last.position,
        }.items()
    )
    assert [t["position"] for t in told] == sorted(t["position"] for t in told)
