"""Query servers share answers in a real Redis, and do without when it is slow, away or holds nonsense."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from shop.orders.v1.query_service_pb2 import GetOrderRequest, ListCustomerOrdersRequest
from tests.nats_server import nats_server
from tests.redis_server import RedisServer, redis_server
from tests.unit.cached_side import LOG, PLANS, CachedSide, Clock, ReadModel, order_in
from twofold_server.broker import hearing, nats_client
from twofold_server.projections.checkpoints import Checkpoint
from twofold_server.projections.notices import ProgressNotices, Written
from twofold_server.queries.answer import Generation
from twofold_server.queries.cache.changes import Changes
from twofold_server.queries.cache.entries import Entry
from twofold_server.queries.cache.shared import RedisLevel, redis_level
from twofold_server.queries.notices import notice_handlers
from twofold_server.queries.positions import Positions

pytestmark = [pytest.mark.redis, pytest.mark.timeout(60)]
HERE = Generation(LOG, version=1, epoch=1, begun_at=5)
PLAN = PLANS[GetOrderRequest]
TTL = 60.0


def entry(body: bytes = b"tea", *, age: float = 0) -> Entry:
    return Entry(body, position=7, token="token", read_at=time.time() - age, behind=0.5)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def level(server: RedisServer) -> AsyncIterator[RedisLevel]:
    async with redis_level(server.url, ttl=TTL) as level:
        yield level


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def found(level: RedisLevel, key: bytes, wanted: Entry | None) -> None:
    """Wait until what is stored under a key is this."""
    async with asyncio.timeout(20):
        while await level.get(PLAN, HERE, key) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_what_one_server_stored_another_finds(server: RedisServer, level: RedisLevel) -> None:
    stored = entry()
    level.put(PLAN, HERE, b"key", stored)
    async with redis_level(server.url, ttl=TTL) as other:
        await found(other, b"key", stored)
        assert await other.get(PLAN, HERE, b"other key") is None


async def test_many_looks_at_once_find_each_its_own(level: RedisLevel) -> None:
    entries = {b"%d" % n: entry(b"answer %d" % n) for n in range(300)}
    for key, stored in entries.items():
        level.put(PLAN, HERE, key, stored)
    await found(level, b"299", entries[b"299"])
    assert await asyncio.gather(*(level.get(PLAN, HERE, key) for key in entries)) == [*entries.values()]


@pytest.mark.parametrize(
    "other",
    [
        Generation("another log", 1, 1, 5),
        Generation(LOG, 2, 1, 5),
        Generation(LOG, 1, 2, 5),
        Generation(LOG, 1, 1, 6),
    ],
    ids=["log", "version", "epoch", "build"],
)
async def test_answers_of_another_log_or_build_are_not_found(level: RedisLevel, other: Generation) -> None:
    level.put(PLAN, HERE, b"key", entry())
    await _stored(level)
    assert await level.get(PLAN, other, b"key") is None
    assert await level.get(PLANS[ListCustomerOrdersRequest], HERE, b"key") is None


async def _stored(level: RedisLevel) -> Entry:
    async with asyncio.timeout(20):
        while (stored := await level.get(PLAN, HERE, b"key")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return stored


async def test_an_answer_is_gone_from_redis_at_its_age(server: RedisServer, level: RedisLevel) -> None:
    level.put(PLAN, HERE, b"key", entry(age=TTL - 5))
    await _stored(level)
    async with Redis.from_url(server.url) as operator:
        [name] = await operator.keys("twofold:*")
        assert 0 < await operator.pttl(name) <= 5000


async def test_nonsense_in_redis_is_passed_over(server: RedisServer, level: RedisLevel) -> None:
    level.put(PLAN, HERE, b"key", entry())
    await _stored(level)
    async with Redis.from_url(server.url) as operator:
        [name] = await operator.keys("twofold:*")
        await operator.set(name, b"\xc1 nonsense")
    assert await level.get(PLAN, HERE, b"key") is None


async def test_while_redis_is_away_nobody_waits_and_it_comes_back_by_itself(server: RedisServer) -> None:
    with capture_logs() as lines:
        async with redis_level(server.url, ttl=TTL) as level:
            level.put(PLAN, HERE, b"key", entry())
            await _stored(level)
            server.kill()
            began = time.monotonic()
            for _ in range(50):
                assert await level.get(PLAN, HERE, b"key") is None
                level.put(PLAN, HERE, b"key", entry())
            assert time.monotonic() - began < 1
            server.start()
            again = entry(b"again")
            async with asyncio.timeout(20):
                while await level.get(PLAN, HERE, b"key") != again:
                    level.put(PLAN, HERE, b"key", again)
                    await asyncio.sleep(0.02)
    told = [line["event"] for line in lines]
    assert told == ["the shared cache is not available; answers go on without it", "the shared cache is back"]


async def test_a_redis_that_freezes_is_waited_for_a_moment_only(
    server: RedisServer, level: RedisLevel
) -> None:
    level.put(PLAN, HERE, b"key", entry())
    await _stored(level)
    server.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        looks = [level.get(PLAN, HERE, b"key") for _ in range(100)]
        assert set(await asyncio.gather(*looks)) == {None}
        assert await level.get(PLAN, HERE, b"key") is None
        assert time.monotonic() - began < 2
    finally:
        server.send_signal(signal.SIGCONT)
    await _stored(level)


async def test_a_redis_that_was_never_there_costs_nothing_but_a_line() -> None:
    async with redis_level("redis://127.0.0.1:1/0", ttl=TTL) as level:
        assert await level.get(PLAN, HERE, b"key") is None


async def test_two_servers_with_one_redis_never_answer_with_less_than_was_told(server: RedisServer) -> None:
    model, clock = ReadModel(), Clock()
    clock.now = time.time()
    async with redis_level(server.url, ttl=TTL) as one, redis_level(server.url, ttl=TTL) as two:
        sides = [CachedSide(model, shared=shared, clock=clock) for shared in (one, two)]
        for number in range(1, 60):
            notice = model.write("tea")
            for side in sides:
                side.hear(notice)
                assert order_in(await side.ask("tea")).version == number
                assert order_in(await side.ask("tea", token=number)).version == number
        taken = [side.metrics.take() for side in sides]
    assert taken[0]["misses"] == 59
    assert taken[1]["shared_hits"] > 0


async def test_a_connection_to_nats_that_breaks_is_noticed_and_what_was_missed_is_dropped() -> None:
    changes, positions = Changes(), Positions(store=_Nothing(), read_checkpoint=_none)  # type: ignore[arg-type]
    known = changes["orders"]

    def here(position: int) -> Checkpoint:
        return Checkpoint("orders", LOG, 1, 1, position, 0, position)

    async with (
        nats_server() as broker,
        nats_client([broker.url], name="projector") as projector,
        nats_client([broker.url], name="query-server", on_loss=changes.deafened) as client,
        hearing(client, notice_handlers(positions, changes.heard)),
    ):
        notices = ProgressNotices(projector)

        async def tell(position: int, written: Written | None, condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(20):
                while not condition():
                    await notices.tell(here(position), written)
                    await asyncio.sleep(0.02)

        await tell(5, None, lambda: known.is_known)
        await tell(6, Written(5, 6, {"orders": ["a"]}), lambda: not known.holds(5, b'orders "a"'))
        assert known.holds(5, b'orders "b"')
        broker.kill()
        await until(lambda: not known.is_known)
        await broker.start()
        await tell(9, Written(8, 9, {}), lambda: known.is_known)
        assert not known.holds(7, b'orders "b"')
        assert known.holds(8, b'orders "b"')


class _Nothing:
    async def read(self, _: object) -> None:
        return None


def _none(*_: object) -> None:
    return None
