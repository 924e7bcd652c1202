"""`twofold relay reseed` on a real NATS server: the stream begins where the operator wants, and is whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats.errors
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from tests.integration.test_relay import (
    Log,
    assert_holds_exactly,
    commit_for_a_while,
    config,
    jetstream,
    published,
    running,
    until,
)
from tests.nats_server import NatsServer, nats_server
from twofold_server.publishing.reseeding import Held, held, reseed
from twofold_server.publishing.stream import STREAM

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    async with nats_server() as running_server:
        yield running_server


async def reseeded(log: Log, server: NatsServer, position: int) -> int:
    async with asyncio.timeout(30):
        return await reseed(log, config(server, from_position=position), told=lambda now: None)


@asynccontextmanager
async def published_log(server: NatsServer, events: int) -> AsyncIterator[Log]:
    """A log that a relay has published; the relay is gone."""
    log = Log()
    async with running(log, config(server)) as relay:
        await log.commit(events)
        await relay.drained()
    yield log


@pytest.mark.parametrize("position", [1, 7, 20, 21])
async def test_without_a_command_server_the_stream_is_filled_from_the_position_on(
    server: NatsServer, position: int
) -> None:
    async with published_log(server, 20) as log:
        assert await reseeded(log, server, position) == 20
        await assert_holds_exactly(server, log, first=position)
        async with running(log, config(server)) as relay:
            await log.commit(5)
            await relay.drained()
        await assert_holds_exactly(server, log, first=position)


async def test_a_stream_that_was_not_there_is_made(server: NatsServer) -> None:
    log = Log()
    await log.commit(5)
    assert await held(config(server)) is None
    assert await reseeded(log, server, 3) == 5
    assert await held(config(server)) == Held(messages=3, first=3, last=5)
    await assert_holds_exactly(server, log, first=3)


async def test_relays_at_work_go_on_and_everything_is_there_once(server: NatsServer) -> None:
    log = Log()
    async with running(log, config(server)) as first, running(log, config(server)) as second:
        await log.commit(500)
        await until(lambda: first.position == 500 == second.position)
        for position in (1, 400, 120):
            committing = asyncio.create_task(commit_for_a_while(log))
            await reseeded(log, server, position)
            await committing
            await until(lambda: first.position == len(log._events) == second.position)
            await assert_holds_exactly(server, log, first=position)


async def test_the_stream_of_another_log_is_replaced(server: NatsServer) -> None:
    async with published_log(server, 30):
        other = Log()
        await other.commit(5)
        async with running(other, config(server)) as relay:
            await until(lambda: "of another log" in relay.problem)
            await reseeded(other, server, 1)
            await until(lambda: relay.serving)
        await assert_holds_exactly(server, other)


async def test_nothing_is_deleted_while_nats_is_away() -> None:
    async with nats_server(started=False) as server:
        log = Log()
        await log.commit(3)
        with pytest.raises((nats.errors.Error, OSError)):
            await reseeded(log, server, 1)


async def begun(js: JetStreamContext, first: int) -> bool:
    """Whether the stream was made anew from a position on, and something is in it already."""
    try:
        state = (await js.stream_info(STREAM)).state
    except NotFoundError:
        return False
    return state.first_seq == first and state.messages > 0


async def test_a_broker_that_is_killed_while_it_is_filled_is_filled_all_the_same(server: NatsServer) -> None:
    async with published_log(server, 3000) as log:
        filling = asyncio.create_task(reseeded(log, server, 10))
        async with jetstream(server) as js:
            while not await begun(js, 10):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        server.kill()
        await server.start()
        assert await filling == 3000
        await assert_holds_exactly(server, log, first=10)
    assert len(await published(server)) == 2991
