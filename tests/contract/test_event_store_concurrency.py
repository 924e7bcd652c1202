"""Several writers on one log, and who reads it meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from tests.appends import append, new_append, new_id
from tests.contract.event_stores import Log
from twofold_server.event_store.appending import Appended, AppendOutcome, Conflict, Replay
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.expected_version import Exactly, NoStream
from twofold_server.event_store.store import EventStore

WRITERS, ROUNDS = 6, 8


async def test_stores_on_one_log_share_its_id_and_its_events(log: Log) -> None:
    async with log() as one, log() as other:
        assert one.log_id == other.log_id
        written = await append(one)
        assert await other.read_events(0) == list(written)
        assert await other.stream_version("order-1") == 1
        assert (await append(other))[0].position == 2


async def test_logs_keep_their_id_when_they_are_opened_again(log: Log) -> None:
    async with log() as store:
        first = store.log_id
        await append(store)
    async with log() as store:
        assert store.log_id == first
        assert await store.head() == 1


async def test_servers_that_start_together_make_one_log(log: Log) -> None:
    async with AsyncExitStack() as stack:
        stores = await asyncio.gather(*(stack.enter_async_context(log()) for _ in range(4)))
        assert len({store.log_id for store in stores}) == 1


async def test_concurrent_appenders_yield_gapless_positions_that_a_reader_never_skips(log: Log) -> None:
    async with log() as one, log() as other, log() as readers:
        writers = [write(store, n) for n, store in enumerate([one, other] * (WRITERS // 2))]
        total = WRITERS * ROUNDS * 3
        following = asyncio.create_task(follow(readers, total))
        await asyncio.gather(*writers)
        followed = await following
        assert [e.position for e in followed] == list(range(1, total + 1))
        assert followed == await readers.read_events(0)
        for stream in {e.stream_name for e in followed}:
            versions = [e.stream_version for e in followed if e.stream_name == stream]
            assert versions == list(range(1, len(versions) + 1))


async def write(store: EventStore, writer: int) -> None:
    for n in range(ROUNDS):
        await store.append([new_append(f"order-{writer}", events=2), new_append(f"order-shared-{n % 2}")])
        await asyncio.sleep(0)


async def follow(store: EventStore, total: int) -> list[RecordedEvent]:
    seen: list[RecordedEvent] = []
    while len(seen) < total:
        head = await store.head()
        events = await store.read_events(len(seen))
        assert [e.position for e in events] == list(range(len(seen) + 1, len(seen) + len(events) + 1))
        assert len(seen) + len(events) >= head, "what the head says is there can be read"
        seen += events
        await asyncio.sleep(0)
    return seen


async def test_of_concurrent_appends_on_one_version_exactly_one_wins(log: Log) -> None:
    async with log() as one, log() as other:
        for version in range(5):
            expected = Exactly(version) if version else NoStream()
            batches = [[new_append(expected=expected), new_append(f"order-{n}")] for n in range(2, 8)]
            outcomes = await asyncio.gather(
                *([one, other][n % 2].append(batch) for n, batch in enumerate(batches))
            )
            contested: list[AppendOutcome] = [first for first, _ in outcomes]
            assert sum(isinstance(o, Appended) for o in contested) == 1
            assert contested.count(Conflict(version + 1)) == len(batches) - 1
            assert all(isinstance(second, Appended) for _, second in outcomes)


async def test_of_concurrent_appends_under_one_request_id_exactly_one_wins(log: Log) -> None:
    async with log() as one, log() as other:
        request = new_id()
        outcomes = await asyncio.gather(
            *([one, other][n % 2].append([new_append(f"order-{n}", request_id=request)]) for n in range(6))
        )
        kinds = [type(outcome) for [outcome] in outcomes]
        assert kinds.count(Appended) == 1
        assert kinds.count(Replay) == 5
        [winner] = [o.response for [o] in outcomes if isinstance(o, Appended)]
        assert {o.stored.response for [o] in outcomes if isinstance(o, Replay)} == {winner}
        assert await one.head() == 1


async def test_a_cancelled_append_is_written_whole_or_not_at_all(log: Log) -> None:
    async with log() as store, log() as other:
        for n in range(10):
            task = asyncio.create_task(append(store, f"order-{n}", events=3))
            for _ in range(n):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await append(store, "order-last")
        events = await other.read_events(0)
        assert [e.position for e in events] == list(range(1, len(events) + 1))
        for n in range(10):
            assert len([e for e in events if e.stream_name == f"order-{n}"]) in (0, 3)
