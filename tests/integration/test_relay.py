"""The relay against a real NATS server: no position is lost, doubled or out of order, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from tests.nats_server import NatsServer, nats_server
from twofold_server.event_store import expected_version
from twofold_server.event_store.appending import Append, Appended
from twofold_server.event_store.events import NewEvent, RecordedEvent
from twofold_server.event_store.memory import MemoryEventStore
from twofold_server.modelling import EventMetadata
from twofold_server.publishing.config import RelayConfig
from twofold_server.publishing.headers import published_position, recorded_event
from twofold_server.publishing.relay import Relay
from twofold_server.publishing.stream import STREAM
from twofold_server.publishing.subjects import HEAD

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    async with nats_server() as running:
        yield running


class Log(MemoryEventStore):
    """An event store that hands each commit to relays, as a command server does."""

    def __init__(self) -> None:
        super().__init__()
        self.relays: list[Relay] = []

    async def commit(self, count: int, *, data: bytes = b"\x0a\x01a", actor: str = "") -> list[RecordedEvent]:
        """Append events, one stream each, and offer them to the relays."""
        new = [
            Append(
                f"order-{uuid.uuid4()}",
                expected_version.Any(),
                [
                    NewEvent(
                        str(uuid.uuid4()),
                        "shop.orders.v1.OrderCreated",
                        1,
                        data,
                        EventMetadata("c", "r", actor),
                    )
                ],
                lambda position: b"",
            )
            for _ in range(count)
        ]
        events = [
            event
            for outcome in await self.append(new)
            if isinstance(outcome, Appended)
            for event in outcome.events
        ]
        for relay in self.relays:
            relay.offer(events)
        return events


def config(server: NatsServer, **changes: Any) -> RelayConfig:
    """Everything quick, so that the tests are."""
    quick: dict[str, Any] = {"check_seconds": 0.1, "takeover_seconds": 0.3, "max_pause_seconds": 0.2}
    return RelayConfig(servers=[server.url], **{**quick, **changes})


@asynccontextmanager
async def running(log: Log, settings: RelayConfig, *, offered: bool = True) -> AsyncIterator[Relay]:
    """A relay at work."""
    relay = Relay(store=log, config=settings)
    if offered:
        log.relays.append(relay)
    async with asyncio.TaskGroup() as group:  # so that a relay that fails ends the test
        task = group.create_task(relay.run())
        yield relay
        task.cancel()
    if offered:
        log.relays.remove(relay)


@asynccontextmanager
async def jetstream(server: NatsServer) -> AsyncIterator[JetStreamContext]:
    """The view of an operator."""
    client = await nats.connect(server.url, allow_reconnect=False)
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def published(server: NatsServer) -> list[tuple[int, RecordedEvent | None]]:
    """Every message of the stream as (sequence, event)."""
    async with jetstream(server) as js:
        state = (await js.stream_info(STREAM)).state
        if not state.messages:
            return []
        subscription = await js.subscribe("twofold.events.>", stream=STREAM, ordered_consumer=True)
        found: list[tuple[int, RecordedEvent | None]] = []
        while not found or found[-1][0] < state.last_seq:
            message = await subscription.next_msg(timeout=5)
            found.append((message.metadata.sequence.stream, recorded_event(message.headers, message.data)))
        return found


async def assert_holds_exactly(server: NatsServer, log: Log, *, first: int = 1) -> None:
    """The stream holds each event of the log once, in order, at the sequence that is its position."""
    expected = [(event.position, event) for event in await log.read_events(first - 1, limit=1_000_000)]
    assert await published(server) == expected


async def test_every_event_is_published_once_in_order_at_the_sequence_of_its_position(
    server: NatsServer,
) -> None:
    log = Log()
    await log.commit(30)  # before the relay: read from the log
    async with running(log, config(server)) as relay:
        for size in (1, 1, 50, 450, 3):
            await log.commit(size, actor="Zoë the 1st")
        await relay.drained()
        assert (relay.position, relay.serving) == (535, True)
    await assert_holds_exactly(server, log)


async def test_a_relay_goes_on_where_the_stream_ends(server: NatsServer) -> None:
    log = Log()
    for _ in range(3):
        await log.commit(5)
        async with running(log, config(server)) as relay:
            await until(lambda relay=relay: relay.serving)  # type: ignore[misc]
            await log.commit(5)
            await relay.drained()
    await assert_holds_exactly(server, log)


async def test_nothing_waits_while_nats_is_away_and_all_is_published_afterwards() -> None:
    async with nats_server(started=False) as server:
        log = Log()
        async with running(log, config(server, max_backlog=100)) as relay:
            for _ in range(30):
                await log.commit(10)
            await until(lambda: "NATS is away" in relay.problem)
            await server.start()
            await until(lambda: relay.serving)
            await log.commit(10)
            await relay.drained()
        await assert_holds_exactly(server, log)


async def test_a_broker_killed_in_the_middle_of_windows_gets_each_position_once(server: NatsServer) -> None:
    log = Log()
    changes: list[bool] = []
    async with running(log, config(server)) as relay:
        relay._on_change = changes.append
        for _ in range(6):
            await until(lambda: relay.serving)
            task = asyncio.create_task(commit_for_a_while(log))
            await asyncio.sleep(random.uniform(0.02, 0.15))
            server.kill()
            await task
            await until(lambda: not relay.serving)
            await server.start()
        await relay.drained()
    assert changes.count(False) == 6
    await assert_holds_exactly(server, log)


async def commit_for_a_while(log: Log) -> None:
    for _ in range(150):
        await log.commit(random.choice((1, 7, 60)))
        await asyncio.sleep(0.001)


async def test_a_broker_that_stops_answering_gets_each_position_once(server: NatsServer) -> None:
    log = Log()
    async with running(log, config(server, ack_seconds=0.3)) as relay:
        await log.commit(50)
        await relay.drained()
        server.send_signal(signal.SIGSTOP)
        await log.commit(500)
        await until(lambda: not relay.serving)
        server.send_signal(signal.SIGCONT)
        await log.commit(5)
        await relay.drained()
    await assert_holds_exactly(server, log)


async def test_a_deleted_stream_is_filled_from_the_log(server: NatsServer) -> None:
    log = Log()
    async with running(log, config(server)) as relay:
        await log.commit(300)
        await relay.drained()
        async with jetstream(server) as js:
            await js.delete_stream(STREAM)
            await until_exists(js)  # nobody committed: the relay noticed by itself
        await log.commit(300)
        await until(lambda: relay.position == 600)
    await assert_holds_exactly(server, log)


async def until_exists(js: JetStreamContext) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(NotFoundError):
                if (await js.stream_info(STREAM)).state.last_seq == 300:
                    return


async def test_a_stream_deleted_in_the_middle_of_windows_is_filled_from_the_log(server: NatsServer) -> None:
    log = Log()
    async with running(log, config(server)) as relay, jetstream(server) as js:
        await until(lambda: relay.serving)
        task = asyncio.create_task(commit_for_a_while(log))
        await until(lambda: relay.position > 200)
        await js.delete_stream(STREAM)
        await task
        await relay.drained()
    await assert_holds_exactly(server, log)


async def test_a_new_stream_begins_at_the_configured_position(server: NatsServer) -> None:
    log = Log()
    await log.commit(20)
    async with running(log, config(server, from_position=15)) as relay:
        await until(lambda: relay.position == 20)
    await assert_holds_exactly(server, log, first=15)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_purged_stream_goes_on_from_where_it_was(server: NatsServer, restarted: bool) -> None:
    log = Log()
    async with running(log, config(server)) as relay, jetstream(server) as js:
        await log.commit(20)
        await relay.drained()
        await js.purge_stream(STREAM)
        if not restarted:
            await log.commit(5)
            await relay.drained()
    async with running(log, config(server)) as relay:
        await log.commit(5)
        await until(lambda: relay.position == len(log._events))
    await assert_holds_exactly(server, log, first=21)


async def test_strangers_messages_are_passed_over(server: NatsServer) -> None:
    log = Log()
    async with jetstream(server) as js:
        async with running(log, config(server)) as relay:
            await log.commit(3)
            await relay.drained()
            for _ in range(2):
                await js.publish("twofold.events.1.x.Y", b"stray")
            await log.commit(3)
            await relay.drained()
            await js.publish("twofold.events.1.x.Y", b"stray", headers={"ce-position": "many"})
        async with running(log, config(server)) as relay:
            await log.commit(4)
            await until(lambda: relay.position == 10)
    found = await published(server)
    assert [event.position for _, event in found if event] == list(range(1, 11))
    assert len(found) == 13


async def test_of_two_relays_one_publishes_and_the_other_takes_over_when_it_is_gone(
    server: NatsServer,
) -> None:
    log = Log()
    async with running(log, config(server)) as second:
        async with running(log, config(server)):
            await commit_for_a_while(log)
            await until(lambda: second.position == len(log._events))
        await commit_for_a_while(log)
        await second.drained()
    await assert_holds_exactly(server, log)


async def test_commits_of_another_command_server_are_published_at_once(server: NatsServer) -> None:
    log = Log()
    settings = config(server, check_seconds=30, takeover_seconds=30)
    async with running(log, settings, offered=False) as first:
        await until(lambda: first.serving)
        async with running(log, settings, offered=True) as second:
            await log.commit(10)
            await log.commit(10)
            await until(lambda: first.position == 20 == second.position)
            async with asyncio.timeout(2):
                for _ in range(5):
                    await log.commit(10)
                    await until(lambda: second.position == len(log._events))
    await assert_holds_exactly(server, log)


async def test_a_stream_ahead_of_the_log_is_left_alone_until_it_is_not(server: NatsServer) -> None:
    log = Log()
    async with running(log, config(server)) as relay:
        await log.commit(10)
        await relay.drained()
    restored = Log()
    restored.log_id, restored._events = log.log_id, log._events[:6]
    async with running(restored, config(server)) as relay:
        await until(lambda: "position 10, is ahead of the log, which is at 6" in relay.problem)
        assert not relay.serving
        await restored.commit(8)
        await until(lambda: "another event there" in relay.problem)
        assert len(await published(server)) == 10
        async with jetstream(server) as js:
            await js.delete_stream(STREAM)
        await until(lambda: relay.position == 14)
    await assert_holds_exactly(server, restored)


async def test_the_stream_of_another_log_is_left_alone(server: NatsServer) -> None:
    log = Log()
    async with running(log, config(server)) as relay:
        await log.commit(3)
        await relay.drained()
    other = Log()
    await other.commit(5)
    async with running(other, config(server)) as relay:
        await until(lambda: "of another log" in relay.problem)
    await assert_holds_exactly(server, log)


async def test_an_event_too_big_for_nats_is_referred_to(server: NatsServer) -> None:
    log = Log()
    async with running(log, config(server)) as relay:
        await log.commit(1)
        await log.commit(1, data=bytes(9 * 1024 * 1024))
        await log.commit(3, data=bytes(2 * 1024 * 1024))
        await relay.drained()
    async with jetstream(server) as js:
        message = await js.get_msg(STREAM, 2)
        assert published_position(message.headers) == 2
        assert (message.headers or {})["ce-dataref"] == f"/twofold/{log.log_id}/2"
    assert [event is None for _, event in await published(server)] == [False, True, False, False, False]


async def test_the_head_of_the_log_is_told_on_core_nats(server: NatsServer) -> None:
    log = Log()
    client = await nats.connect(server.url, allow_reconnect=False)
    heard = b""
    try:
        subscription = await client.subscribe(HEAD)
        async with running(log, config(server)) as relay:
            await until(lambda: relay.serving)
            await log.commit(7)
            async with asyncio.timeout(5):
                while heard != f'{{"log_id":"{log.log_id}","position":7}}'.encode():
                    heard = (await subscription.next_msg()).data
    finally:
        await client.close()
