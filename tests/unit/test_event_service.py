"""EventService: the log in order, in parts that fit, and a subscription that skips and repeats nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.appends import append, new_event
from tests.order_histories import order_codec
from tests.unit.batch_side import REQUESTS
from tests.unit.stores import AWAY
from twofold.v1 import event_service_pb2 as pb
from twofold_server.errors import InvalidRequest, NotFound, Unavailable
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.feed import Feed
from twofold_server.event_store.filters import EventFilter, partition_of
from twofold_server.event_store.memory import MemoryEventStore
from twofold_server.event_store.remote import LOG_ID
from twofold_server.modelling import EventMetadata
from twofold_server.rpc import event_service
from twofold_server.rpc.event_service import EventService, _in_parts, _with_positions

PATIENCE = 30.0
"""Seconds that a test waits for what must happen at once."""
CREATED, PAID = "shop.orders.v1.OrderCreated", "shop.orders.v1.OrderPaid"
CODEC = order_codec()


class Store(MemoryEventStore):
    """Tells how many events were read, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0
        self.away = False

    async def read_events(
        self, after_position: int, *, limit: int = 1000, to_position: int | None = None
    ) -> list[RecordedEvent]:
        """See EventStore."""
        await asyncio.sleep(0)
        if self.away:
            raise AWAY
        found = await super().read_events(after_position, limit=limit, to_position=to_position)
        self.read += len(found)
        return found


class Log:
    """A log, its live end as one command server knows it, and that server's EventService."""

    def __init__(self, *, capacity: int = 10_000) -> None:
        self.store = Store()
        self.feed = Feed(self.store.log_id, 0, capacity=capacity)
        self.service = EventService(store=self.store, feed=self.feed, codec=CODEC, requests=REQUESTS)

    async def ours(self, count: int = 1, stream: str = "order-1", kind: str = CREATED, size: int = 4) -> None:
        """This server commits some events."""
        events = [new_event(kind, data=b"x" * size) for _ in range(count)]
        self.feed.publish(await append(self.store, stream, events=events))

    async def theirs(self, count: int = 1, *, told: bool = False) -> None:
        """Another server commits some events; this one may be told."""
        events = await append(self.store, "order-2", events=count)
        if told:
            self.feed.advance(events[-1].position)

    async def read_events(self, **request: Any) -> list[pb.ReadEventsResponse]:
        """All answers of ReadEvents."""
        content = pb.ReadEventsRequest(**request).SerializeToString()
        return [pb.ReadEventsResponse.FromString(a) async for a in self.service.read_events(content, None)]

    async def read_stream(self, **request: Any) -> list[int]:
        """The stream versions that ReadStream answers with."""
        content = pb.ReadStreamRequest(**request).SerializeToString()
        answers = [pb.ReadStreamResponse.FromString(a) async for a in self.service.read_stream(content, None)]
        return [event.stream_version for answer in answers for event in answer.events]

    def subscribe(self, **request: Any) -> Subscription:
        """A call of Subscribe."""
        return Subscription(self.service.subscribe(pb.SubscribeRequest(**request).SerializeToString(), None))


class Subscription:
    """A reader of a subscription, as slow as its test."""

    def __init__(self, answers: AsyncIterator[bytes]) -> None:
        self._answers = cast(AsyncGenerator[bytes, None], answers)
        self._position = 0
        self.positions: list[int] = []
        """Of the events that came."""

    async def next(self) -> pb.SubscribeResponse:
        """The next answer; fails where it does not fit those before."""
        async with asyncio.timeout(PATIENCE):
            answer = pb.SubscribeResponse.FromString(await anext(self._answers))
        self.positions += [event.position for event in answer.events]
        assert self._position < answer.position <= answer.head_position
        assert all(self._position < event.position <= answer.position for event in answer.events)
        self._position = answer.position
        return answer

    async def reach(self, position: int) -> list[int]:
        """Read up to a position; the positions of all events that came."""
        while self._position < position:
            await self.next()
        return self.positions

    async def close(self) -> None:
        """Give up."""
        await self._answers.aclose()


def positions(answers: Sequence[Any]) -> list[int]:
    return [event.position for answer in answers for event in answer.events]


@pytest.fixture
def log() -> Log:
    return Log()


# --- parts ---------------------------------------------------------------------------------------


def events_of(sizes: Sequence[int], first: int = 1) -> list[RecordedEvent]:
    return [
        RecordedEvent(first + n, "order-1", 1 + n, "id", CREATED, 1, b"x" * size, EventMetadata(), 0)
        for n, size in enumerate(sizes)
    ]


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 30))
def test_parts_hold_so_many_bytes_and_are_no_smaller_than_they_must_be(sizes: list[int], most: int) -> None:
    events = events_of(sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_service, "PART_BYTES", most)
        parts = list(_in_parts(events))
    assert [event for part in parts for event in part] == events
    weights = [sum(len(event.data) for event in part) for part in parts]
    assert all(weight <= most or len(part) == 1 for weight, part in zip(weights, parts, strict=True))
    for weight, following in zip(weights, parts[1:], strict=False):
        assert weight + len(following[0].data) > most
    assert all(parts) or not events


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 30), st.integers(0, 100))
def test_each_part_tells_how_far_all_is_sent_and_the_last_how_far_was_looked(
    sizes: list[int], most: int, beyond: int
) -> None:
    events = events_of(sizes, first=11)
    reached = 10 + len(events) + beyond
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_service, "PART_BYTES", most)
        parts = list(_with_positions(events, reached))
    for part, position in parts[:-1]:
        assert position == part[-1].position
    assert parts[-1][1] == reached
    assert [event for part, _ in parts for event in part] == events


async def test_large_events_come_one_by_one_and_small_ones_together(log: Log) -> None:
    large = event_service.PART_BYTES // 2 + 1
    for size in (1, 1, large, large, 2 * large, 1):
        await log.ours(size=size)
    parts = [[event.position for event in answer.events] for answer in await log.read_events()]
    assert parts == [[1, 2, 3], [4], [5], [6]]
    assert [answer.position for answer in await log.read_events()] == [3, 4, 5, 6]
    subscription = log.subscribe()
    assert [list((await subscription.next()).events)[-1].position for _ in parts] == [3, 4, 5, 6]
    assert [len(part) for part in parts] == [3, 1, 1, 1]
    assert await log.read_stream(stream_name="order-1") == [1, 2, 3, 4, 5, 6]


# --- ReadStream ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "versions"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"from_version": 1, "to_version": 5}, [1, 2, 3, 4, 5]),
        ({"from_version": 3}, [3, 4, 5]),
        ({"to_version": 2}, [1, 2]),
        ({"from_version": 2, "to_version": 2}, [2]),
        ({"from_version": 4, "to_version": 99}, [4, 5]),
        ({"from_version": 6}, []),
        ({"from_version": 3, "to_version": 2}, []),
    ],
)
@pytest.mark.parametrize("batch", [1, 2, 5, 500])
async def test_a_stream_is_read_between_two_versions_both_included(
    log: Log, monkeypatch: pytest.MonkeyPatch, bounds: dict[str, int], versions: list[int], batch: int
) -> None:
    monkeypatch.setattr(event_service, "BATCH", batch)
    for count in (2, 3):
        await log.theirs()
        await log.ours(count)
    assert await log.read_stream(stream_name="order-1", **bounds) == versions


async def test_a_stream_that_does_not_exist_is_not_found(log: Log) -> None:
    await log.ours()
    with pytest.raises(NotFound) as refusal:
        await log.read_stream(stream_name="order-9")
    assert (refusal.value.reason, refusal.value.metadata) == ("STREAM_NOT_FOUND", {"stream_name": "order-9"})


# --- ReadEvents ----------------------------------------------------------------------------------


async def test_an_empty_log_is_one_answer_that_says_so(log: Log) -> None:
    [answer] = await log.read_events()
    assert (list(answer.events), answer.position, answer.head_position) == ([], 0, 0)


@pytest.mark.parametrize("after", [3, 4, 100])
async def test_at_or_beyond_the_end_one_answer_tells_where_that_is(log: Log, after: int) -> None:
    await log.ours(3)
    [answer] = await log.read_events(after_position=after)
    assert (list(answer.events), answer.position, answer.head_position) == ([], after, 3)


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, [2]), (3, [2, 3, 4]), (4, [2, 3, 4, 5]), (9, [2, 3, 4, 5])]
)
@pytest.mark.parametrize("batch", [1, 2, 500])
async def test_no_more_events_come_than_are_asked_for(
    log: Log, monkeypatch: pytest.MonkeyPatch, limit: int, expected: list[int], batch: int
) -> None:
    monkeypatch.setattr(event_service, "BATCH", batch)
    await log.ours(5)
    answers = await log.read_events(after_position=1, limit=limit)
    assert positions(answers) == expected
    assert answers[-1].position == expected[-1]


async def test_what_is_committed_while_the_log_is_read_is_for_the_next_read(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_service, "BATCH", 2)
    await log.ours(5)
    came = []
    async for answer in log.service.read_events(b"", None):
        came.append(pb.ReadEventsResponse.FromString(answer))
        await log.ours(3)
    assert positions(came) == [1, 2, 3, 4, 5]
    assert {answer.head_position for answer in came} == {5}


STREAMS = ["order-1", "order-2", "payment-1", "payment-2"]
filters: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    contexts=st.lists(st.sampled_from(["shop.orders.v1", "shop.catalog.v1"]), max_size=1),
    categories=st.lists(st.sampled_from(["order", "payment"]), max_size=2),
    event_types=st.lists(st.sampled_from([CREATED, PAID]), max_size=2),
    stream_names=st.lists(st.sampled_from(STREAMS), max_size=2),
    partitions=st.lists(st.sampled_from([partition_of(name) for name in STREAMS]), max_size=2),
)
happenings = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(STREAMS), st.sampled_from([CREATED, PAID])), max_size=12
)


def wanted(asked: dict[str, Any]) -> EventFilter:
    """What a filter of the contract means, in plain sets."""
    return EventFilter(
        packages=frozenset(asked["contexts"]),
        categories=frozenset(asked["categories"]),
        type_names=frozenset(asked["event_types"]),
        stream_names=frozenset(asked["stream_names"]),
        partitions=frozenset(asked["partitions"]),
    )


@given(happenings, filters, st.integers(0, 6), st.integers(0, 8), st.integers(1, 4), st.integers(1, 9))
async def test_a_filtered_read_sends_what_matches_and_tells_truly_how_far_it_is(
    happened: list[tuple[int, str, str]],
    asked: dict[str, Any],
    after: int,
    limit: int,
    batch: int,
    search: int,
) -> None:
    log = Log()
    for count, stream, kind in happened:
        await log.ours(count, stream, kind)
    every = await log.store.read_events(0)
    matching = [e.position for e in every if e.position > after and wanted(asked).matches(e)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_service, "BATCH", batch)
        patch.setattr(event_service, "SEARCH", search)
        answers = await log.read_events(after_position=after, limit=limit, filter=pb.EventFilter(**asked))
    assert positions(answers) == (matching[:limit] if limit else matching)
    sent = 0
    for answer in answers:
        sent += len(answer.events)
        assert [p for p in matching if p <= answer.position] == matching[:sent]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"after_position": -1}, "after_position"),
        ({"limit": -1}, "limit"),
        ({"filter": pb.EventFilter(contexts=["x"] * 101)}, "filter.contexts"),
    ],
)
async def test_a_wrong_request_is_refused_with_its_field(log: Log, asked: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await log.read_events(**asked)
    assert [name for name, _ in refusal.value.violations] == [field]


# --- Subscribe -----------------------------------------------------------------------------------


async def test_a_subscription_catches_up_and_then_follows(log: Log) -> None:
    await log.ours(3)
    subscription = log.subscribe(after_position=1)
    assert await subscription.reach(3) == [2, 3]
    for position in (4, 5):
        coming = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)
        await log.ours()
        assert [event.position for event in (await coming).events] == [position]


async def test_a_subscription_from_beyond_the_end_begins_there(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_service, "LOOK_AGAIN", 0.001)
    await log.ours(2)
    subscription = log.subscribe(after_position=4)
    coming = asyncio.create_task(subscription.next())
    for _ in range(4):
        await asyncio.sleep(0)
        await log.ours()
    assert [event.position for event in (await coming).events] == [5]


async def test_what_is_in_memory_is_not_read_from_the_log(log: Log) -> None:
    await log.ours(3)
    subscription = log.subscribe()
    await subscription.reach(3)
    await log.ours(4)
    await subscription.reach(7)
    assert log.store.read == 0


async def test_what_another_server_commits_is_found_also_when_nobody_tells(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_service, "LOOK_AGAIN", 0.001)
    await log.ours()
    subscription = log.subscribe()
    await subscription.reach(1)
    coming = asyncio.create_task(subscription.next())
    await asyncio.sleep(0)
    await log.theirs(2)
    assert [event.position for event in (await coming).events] == [2, 3]


steps = st.one_of(
    st.tuples(st.just("ours"), st.integers(1, 4)),
    st.tuples(st.just("theirs"), st.integers(1, 4)),
    st.tuples(st.just("theirs, told"), st.integers(1, 4)),
    st.tuples(st.just("look"), st.just(0)),
    st.tuples(st.just("read"), st.just(0)),
)


@given(
    st.lists(steps, max_size=40), st.integers(1, 12), st.integers(1, 6), st.integers(0, 5), st.integers(1, 40)
)
async def test_however_commits_and_reads_take_turns_nothing_is_skipped_and_nothing_repeated(
    happens: list[tuple[str, int]], capacity: int, batch: int, after: int, part: int
) -> None:
    """Ours and another server's commits, told or not, while a reader comes now and then."""
    log = Log(capacity=capacity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_service, "LOOK_AGAIN", 0.0001)
        patch.setattr(event_service, "BATCH", batch)
        patch.setattr(event_service, "PART_BYTES", part)
        subscription = log.subscribe(after_position=after)
        for what, count in happens:
            if what == "ours":
                await log.ours(count)
            elif what == "look":
                log.feed.advance(await log.store.head())
            elif what != "read":
                await log.theirs(count, told=what == "theirs, told")
            elif await log.store.head() > max(after, *subscription.positions, 0):
                await subscription.next()
        await log.ours(after + 1)
        head = await log.store.head()
        assert await subscription.reach(head) == list(range(after + 1, head + 1))
        await subscription.close()


async def test_many_readers_of_any_speed_get_everything_once_while_commits_go_on() -> None:
    log, total = Log(capacity=50), 2000
    subscriptions = [log.subscribe() for _ in range(6)]

    async def read(subscription: Subscription, pause: int) -> list[int]:
        while not subscription.positions or subscription.positions[-1] < total:
            await subscription.next()
            for _ in range(pause):
                await asyncio.sleep(0)
        return subscription.positions

    async def commit() -> None:
        for n in range(total // 5):
            if n % 7:
                await log.ours(5)
            else:
                await log.theirs(5, told=bool(n % 2))
            await asyncio.sleep(0)

    *came, _ = await asyncio.gather(
        *(read(each, pause) for each, pause in zip(subscriptions, (0, 0, 1, 5, 30, 200), strict=True)),
        commit(),
    )
    assert all(each == list(range(1, total + 1)) for each in came)


async def test_a_slow_reader_costs_no_memory_and_is_told_how_far_it_is_behind() -> None:
    log = Log(capacity=100)
    subscription = log.subscribe()
    await log.ours()
    await subscription.next()
    for _ in range(50):
        await log.ours(100)
    assert len(log.feed._recent) == 100
    answer = await subscription.next()
    assert len(answer.events) == event_service.BATCH
    assert (answer.position, answer.head_position) == (1 + event_service.BATCH, 5001)
    assert await subscription.reach(5001) == list(range(1, 5002))


@given(happenings, filters, st.integers(1, 8), st.integers(1, 4))
async def test_a_filtered_subscription_gets_what_matches_from_memory_as_from_the_log(
    happened: list[tuple[int, str, str]], asked: dict[str, Any], capacity: int, batch: int
) -> None:
    log = Log(capacity=capacity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_service, "BATCH", batch)
        patch.setattr(event_service, "SEARCH", 3)
        subscription = log.subscribe(filter=pb.EventFilter(**asked))
        for n, (count, stream, kind) in enumerate(happened):
            await log.ours(count, stream, kind)
            if n % 3:
                await subscription.reach(await log.store.head())
        await subscription.reach(await log.store.head())
        await subscription.close()
    every = await log.store.read_events(0)
    assert subscription.positions == [e.position for e in every if wanted(asked).matches(e)]


async def test_where_nothing_matches_a_subscription_still_tells_how_far_it_looked(log: Log) -> None:
    await log.ours(3)
    subscription = log.subscribe(filter=pb.EventFilter(categories=["payment"]))
    answer = await subscription.next()
    assert (list(answer.events), answer.position) == ([], 3)


async def test_a_log_that_is_away_ends_the_subscription_which_goes_on_from_its_last_position(
    log: Log,
) -> None:
    await log.theirs(3)
    log.feed.advance(3)
    log.store.away = True
    with pytest.raises(Unavailable):
        await log.subscribe().next()
    log.store.away = False
    assert await log.subscribe(after_position=1).reach(3) == [2, 3]


async def test_who_gives_up_waiting_is_forgotten(log: Log) -> None:
    subscription = log.subscribe()
    waiting = asyncio.create_task(subscription.next())
    await asyncio.sleep(0)
    assert len(log.feed._waiters) == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not log.feed._waiters


@pytest.mark.parametrize("method", ["ReadStream", "ReadEvents", "Subscribe"])
async def test_every_answer_begins_with_the_id_of_the_log(log: Log, method: str) -> None:
    class Call:
        sent: tuple[tuple[str, str], ...] = ()

        async def send_initial_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
            """See grpc.aio."""
            self.sent = metadata

    await log.ours()
    request = (
        pb.ReadStreamRequest(stream_name="order-1").SerializeToString() if method == "ReadStream" else b""
    )
    call, handler = Call(), cast(Any, log.service.handlers()[method]).unary_stream
    answers = handler(request, call)
    await anext(answers)
    assert dict(call.sent) == {LOG_ID: log.store.log_id}
    await answers.aclose()
