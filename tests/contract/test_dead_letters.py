"""What becomes of events whose handler fails, whatever the read store stands on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event as sqlalchemy_events
from sqlalchemy import select
from sqlalchemy.engine import Engine

from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.tables import OrderRow
from tests.contract.event_stores import sqlite_url
from tests.order_histories import History, folded, order_codec
from twofold.v1 import projection_service_pb2 as pb
from twofold_server.database import Database, open_database
from twofold_server.errors import InvalidRequest, NotFound, Unavailable
from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import Event, Projection, Rows
from twofold_server.projections.checkpoints import read_standing, tell_parked
from twofold_server.projections.fold import Fold
from twofold_server.projections.letters import DeadLetter
from twofold_server.projections.parking import DIED, LARGEST, ParkingFold, Patience, TooManyParked
from twofold_server.projections.redelivery import Redelivery
from twofold_server.projections.schema import prepare
from twofold_server.projections.skips import skipped
from twofold_server.projections.sources import LogAway
from twofold_server.rpc.dead_letters import DeadLetterOperations

LOG = str(uuid.uuid4())
QUICK = Patience(attempts=3, pause=0.001, max_pause=0.002)
Fails = Callable[[Event[Any]], bool]


class Streams:
    """The streams of a history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.away = False

    def read(self, after: int, *, limit: int) -> Any:
        raise NotImplementedError

    async def read_stream(self, name: str, *, after: int = 0) -> list[RecordedEvent]:
        if self.away:
            raise LogAway("the command server is away")
        found = [event for event in self.history.events if event.stream_name == name]
        return found[after:]


class Shop:
    """A projection of orders whose handlers fail when they are told to."""

    def __init__(self, database: Database, history: History) -> None:
        self.database = database
        self.history = history
        self.streams = Streams(history)
        self.poison: set[int] = set()
        self.error: Exception | None = None
        self.tried: list[int] = []

    async def begin(self, patience: Patience = QUICK) -> None:
        """A projector takes over."""
        self.fold = Fold(database=self.database, projection=self._projection(), codec=order_codec())
        await self.fold.take_over(LOG)
        self.parking = ParkingFold(self.fold, patience)
        self.parking.begin()
        self.redelivery = Redelivery(fold=self.fold, log=self.streams)

    async def apply(self, *, by: int = 1000) -> None:
        """The whole log, in batches."""
        events = self.history.events
        for start in range(0, len(events), by):
            await self.parking.apply(events[start : start + by])

    async def shown(self) -> dict[str, Order]:
        """The rows."""
        rows = await self.database.read(lambda c: c.execute(select(OrderRow.order_id, OrderRow.view)).all())
        return {order_id: Order.FromString(view) for order_id, view in rows}

    async def letters(self) -> list[DeadLetter]:
        """The dead letters."""
        return await self.redelivery.letters()

    def _projection(self) -> Projection:
        handlers = {
            message: self._minefield(handle) for message, handle in orders_projection.handlers.items()
        }
        return replace(orders_projection, handlers=handlers)

    def _minefield(self, handle: Callable[[Event[Any], Rows], None]) -> Callable[[Event[Any], Rows], None]:
        def step(event: Event[Any], rows: Rows) -> None:
            self.tried.append(event.position)
            if event.position in self.poison:
                raise self.error or ValueError("poison")
            handle(event, rows)

        return step


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, [orders_projection]))
        yield database


@pytest.fixture
def shop(database: Database) -> Shop:
    history = History()
    history.created("a")
    history.created("b")
    history.paid("a")
    history.paid("b")
    history.shipped("a")
    history.shipped("b")
    return Shop(database, history)


def without(history: History, *positions: int) -> dict[str, Order]:
    """The fold of the log without some events."""
    return folded([event for event in history.events if event.position not in positions])


# --- parking --------------------------------------------------------------------------------------


async def test_a_key_that_fails_waits_and_all_others_move_on(shop: Shop) -> None:
    shop.poison = {3}
    await shop.begin()
    await shop.apply()
    assert shop.fold.position == 6
    assert await shop.shown() == without(shop.history, 3, 5)
    (letter,) = await shop.letters()
    assert (letter.position, letter.stream_name, letter.stream_version) == (3, "order-a", 2)
    assert (letter.attempts, letter.error, letter.waiting) == (3, "ValueError: poison", 1)
    assert letter.event_type == "shop.orders.v1.OrderPaid"


async def test_an_event_is_tried_as_often_as_the_limit_says_before_it_is_parked(shop: Shop) -> None:
    shop.poison = {6}
    await shop.begin(replace(QUICK, attempts=4))
    await shop.parking.apply(shop.history.events[:5])
    shop.tried.clear()
    await shop.parking.apply(shop.history.events)
    assert shop.tried == [6] * 4
    assert (await shop.letters())[0].attempts == 4


async def test_a_failure_that_passes_parks_nothing(shop: Shop) -> None:
    shop.poison = {3}
    await shop.begin()
    applying = asyncio.create_task(shop.apply())
    while "event 3 of order-a fails: ValueError: poison" not in shop.parking.trouble:
        assert not applying.done()
        await asyncio.sleep(0)
    shop.poison = set()
    await applying
    assert await shop.letters() == []
    assert shop.parking.trouble == ""
    assert await shop.shown() == folded(shop.history.events)


async def test_later_events_of_a_parked_key_wait_also_after_a_restart(shop: Shop) -> None:
    shop.poison = {1}
    await shop.begin()
    await shop.parking.apply(shop.history.events[:2])
    await shop.begin()
    assert shop.fold.parked == 1
    await shop.apply()
    assert [(letter.position, letter.waiting) for letter in await shop.letters()] == [(1, 2)]
    assert set(await shop.shown()) == {"b"}


async def test_a_store_that_is_away_is_no_failure_of_the_event(shop: Shop) -> None:
    shop.poison, shop.error = {3}, Unavailable("away", reason="STORE_UNAVAILABLE")
    await shop.begin()
    await shop.parking.apply(shop.history.events[:2])
    for _ in range(10):
        with pytest.raises(Unavailable):
            await shop.parking.apply(shop.history.events[:3])
        await shop.fold.refresh()
    shop.error = None
    await shop.apply()
    (letter,) = await shop.letters()
    assert letter.attempts == 3


@pytest.mark.parametrize("size", [1, 6])
async def test_while_nothing_fails_a_batch_costs_no_statement_more(shop: Shop, size: int) -> None:
    await shop.begin()
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    events = shop.history.events
    sqlalchemy_events.listen(Engine, "before_cursor_execute", note)
    try:
        for start in range(0, len(events), size):
            await shop.parking.apply(events[start : start + size])
    finally:
        sqlalchemy_events.remove(Engine, "before_cursor_execute", note)
    assert [s for s in statements if "projection_dead_letters" in s or "projection_attempts" in s] == []
    assert statements


async def test_with_too_many_parked_keys_the_projection_stands_still(shop: Shop) -> None:
    shop.poison = {1, 2}
    await shop.begin(replace(QUICK, max_parked=1))
    with pytest.raises(TooManyParked, match="ValueError: poison"):
        await shop.apply()
    assert shop.fold.position == 1
    assert [letter.position for letter in await shop.letters()] == [1]


# --- attempts that nobody lives to tell of -------------------------------------------------------------


async def dies(shop: Shop, patience: Patience = QUICK) -> None:
    """A projector begins and dies of event 3."""

    class Death(BaseException):
        pass

    shop.error, shop.poison = Death(), {3}  # type: ignore[assignment]
    await shop.begin(patience)
    with pytest.raises(Death):
        await shop.apply()
    shop.error = None


async def test_an_event_that_ends_the_process_is_parked_after_the_limit(shop: Shop) -> None:
    await shop.begin()
    await shop.parking.apply(shop.history.events[:1])
    for _ in range(1 + QUICK.attempts):  # in a batch, then alone
        await dies(shop)
    shop.tried.clear()
    await shop.begin()
    await shop.apply()
    assert 3 not in shop.tried
    (letter,) = await shop.letters()
    assert (letter.position, letter.attempts, letter.error) == (3, QUICK.attempts, DIED)
    assert await shop.shown() == without(shop.history, 3, 5)


async def test_a_projector_that_stopped_cleanly_leaves_nothing_to_suspect(shop: Shop) -> None:
    for _ in range(3):
        await shop.begin()
        assert shop.fold.suspect is None
        await shop.parking.close()


async def test_a_suspicious_projector_gets_back_to_whole_batches(shop: Shop) -> None:
    shop.history.grow(LARGEST + 20, seed=1)
    await shop.begin()
    await shop.begin()
    assert shop.fold.suspect is not None
    await shop.apply(by=LARGEST)
    assert await shop.shown() == folded(shop.history.events)
    transactions = []
    shop.history.grow(20, seed=2)
    original = shop.fold.apply

    async def apply(events: Any, *, head: int = 0) -> None:
        transactions.append(len(events))
        await original(events, head=head)

    shop.fold.apply = apply  # type: ignore[method-assign]
    await shop.apply(by=LARGEST * 2)
    assert transactions == [20]


# --- retry and skip -----------------------------------------------------------------------------------


async def test_a_retry_applies_what_waits_in_order(shop: Shop) -> None:
    shop.poison = {3}
    await shop.begin()
    await shop.apply()
    shop.poison = set()
    outcome = await shop.redelivery.retry("order-a")
    assert (outcome.applied, outcome.letter) == (2, None)
    assert await shop.letters() == []
    assert shop.fold.parked == 0
    assert await shop.shown() == folded(shop.history.events)


async def test_a_retry_that_fails_again_is_counted_and_changes_nothing(shop: Shop) -> None:
    shop.poison = {3}
    await shop.begin()
    await shop.apply()
    shop.error = ValueError("worse")
    outcome = await shop.redelivery.retry("order-a")
    assert outcome.applied == 0
    assert outcome.letter is not None
    assert (outcome.letter.attempts, outcome.letter.error) == (4, "ValueError: worse")
    assert await shop.letters() == [outcome.letter]
    assert await shop.shown() == without(shop.history, 3, 5)


async def test_a_retry_stops_at_the_next_event_that_fails(shop: Shop) -> None:
    shop.poison = {1}
    await shop.begin()
    await shop.apply()
    shop.poison = {5}
    outcome = await shop.redelivery.retry("order-a")
    assert outcome.applied == 2
    assert outcome.letter is not None
    assert (outcome.letter.position, outcome.letter.error) == (5, "ValueError: poison")
    assert await shop.shown() == without(shop.history, 5)


async def test_a_skipped_event_is_left_out_and_recorded(shop: Shop) -> None:
    shop.poison = {3}
    await shop.begin()
    await shop.apply()
    outcome = await shop.redelivery.skip("order-a", 3, who="ada", why="a test payment")
    assert (outcome.applied, outcome.letter) == (1, None)
    assert await shop.shown() == without(shop.history, 3)
    (skip,) = await shop.database.read(lambda c: skipped(c, shop.fold.scope))
    assert (skip.position, skip.skipped_by, skip.reason) == (3, "ada", "a test payment")
    assert skip.error == "ValueError: poison"


async def test_each_answer_can_tell_how_many_keys_are_parked(shop: Shop) -> None:
    shop.poison = {3, 4}
    await shop.begin()

    async def told() -> int:
        found = await shop.database.read(lambda c: read_standing(c, "orders"))
        assert found is not None
        return found.parked

    await shop.parking.apply(shop.history.events[:1])
    assert await told() == 0
    await shop.apply()
    assert await told() == 2
    await shop.database.write(lambda c: tell_parked(c, shop.fold.checkpoint, 0))
    await shop.begin()
    assert await told() == 2, "whoever takes over counts again"
    shop.poison = {4}
    await shop.redelivery.retry("order-a")
    assert await told() == 1
    await shop.redelivery.skip("order-b", 4, who="ada", why="a test")
    assert await told() == 0


async def test_only_a_parked_event_is_retried_or_skipped(shop: Shop) -> None:
    shop.poison = {3}
    await shop.begin()
    await shop.apply()
    with pytest.raises(NotFound):
        await shop.redelivery.retry("order-b")
    with pytest.raises(NotFound):
        await shop.redelivery.skip("order-a", 5, who="ada", why="it waits behind another")
    with pytest.raises(InvalidRequest, match="say who"):
        await shop.redelivery.skip("order-a", 3, who="ada", why=" ")
    assert len(await shop.letters()) == 1


async def test_a_retry_without_the_log_says_so_and_changes_nothing(shop: Shop) -> None:
    shop.poison = {3}
    await shop.begin()
    await shop.apply()
    before = await shop.letters()
    shop.streams.away = True
    with pytest.raises(Unavailable, match="the command server is away"):
        await shop.redelivery.retry("order-a")
    assert await shop.letters() == before


async def test_events_that_come_during_a_retry_are_neither_lost_nor_out_of_order(shop: Shop) -> None:
    shop.poison = {1}
    await shop.begin()
    await shop.parking.apply(shop.history.events[:3])
    shop.poison = set()
    await asyncio.gather(shop.redelivery.retry("order-a"), shop.apply(by=1))
    assert await shop.letters() == []
    assert await shop.shown() == folded(shop.history.events)


# --- as an operator sees them ---------------------------------------------------------------------------


def operations(shop: Shop) -> DeadLetterOperations:
    return DeadLetterOperations(lambda: {"orders": shop.redelivery})


async def test_letters_are_listed_in_pages_with_those_that_wait(shop: Shop) -> None:
    shop.poison = {3, 2}
    await shop.begin()
    await shop.apply()
    found: list[pb.DeadLetter] = []
    request = pb.ListDeadLettersRequest(page_size=2)
    while True:
        answer = await operations(shop).list_dead_letters(request)
        assert answer.total_size == 5
        found += answer.dead_letters
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert [(each.position, each.waiting, each.attempts) for each in found] == [
        (2, False, 3),
        (3, False, 3),
        (4, True, 0),
        (5, True, 0),
        (6, True, 0),
    ]
    assert {(each.projection, each.build) for each in found} == {("orders", 1)}
    one = await operations(shop).list_dead_letters(pb.ListDeadLettersRequest(key="order-a"))
    assert [each.position for each in one.dead_letters] == [3, 5]


async def test_all_keys_are_retried_at_once_and_what_fails_again_is_told(shop: Shop) -> None:
    shop.poison = {1, 2}
    await shop.begin()
    await shop.apply()
    shop.poison = {4}
    answer = await operations(shop).retry_dead_letter(pb.RetryDeadLetterRequest(projection="orders"))
    assert (answer.applied, answer.remaining, answer.error) == (4, 2, "ValueError: poison")
    skip = pb.SkipDeadLetterRequest(
        projection="orders", key="order-b", position=4, skipped_by="ada", reason="a test"
    )
    skipping = await operations(shop).skip_dead_letter(skip)
    assert (skipping.applied, skipping.remaining, skipping.error) == (1, 0, "")
    assert await shop.shown() == without(shop.history, 4)


async def test_a_projector_that_has_not_taken_over_changes_no_letters(shop: Shop) -> None:
    shop.poison = {3}
    await shop.begin()
    await shop.apply()
    bystander = Fold(database=shop.database, projection=orders_projection, codec=order_codec())
    there = DeadLetterOperations(lambda: {"orders": Redelivery(fold=bystander, log=shop.streams)})
    assert (await there.list_dead_letters(pb.ListDeadLettersRequest())).total_size == 2
    with pytest.raises(Unavailable, match="ask the one that does"):
        await there.retry_dead_letter(pb.RetryDeadLetterRequest(projection="orders", key="order-a"))
    with pytest.raises(NotFound, match="there is no projection x; there are orders"):
        await there.retry_dead_letter(pb.RetryDeadLetterRequest(projection="x"))


# --- whatever fails -----------------------------------------------------------------------------------


@st.composite
def failures(draw: st.DrawFn) -> tuple[History, list[set[int]], int, list[int]]:
    """A history, which events fail in each round, the size of batches, where the projector is restarted."""
    history = History()
    history.grow(draw(st.integers(1, 40)), seed=draw(st.integers(0, 1000)))
    positions = st.integers(1, history.head)
    rounds = draw(st.lists(st.sets(positions, max_size=10), min_size=1, max_size=3))
    return history, rounds, draw(st.integers(1, 45)), draw(st.lists(positions, max_size=2))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=failures())
def test_after_a_retry_of_all_letters_the_rows_are_the_fold_of_the_log(
    case: tuple[History, list[set[int]], int, list[int]], tmp_path: Path
) -> None:
    history, rounds, by, restarts = case

    async def scenario() -> None:
        folder = tmp_path / str(uuid.uuid4())
        folder.mkdir()
        async with open_database(sqlite_url(folder), synchronous="OFF", readers=1) as database:
            await database.write(lambda c: prepare(c, [orders_projection]))
            shop = Shop(database, history)
            shop.poison = rounds[0]
            for end in [*sorted(restarts), history.head]:
                await shop.begin(replace(QUICK, attempts=1))
                for start in range(0, end, by):
                    await shop.parking.apply(history.events[start : min(start + by, end)])
            for poison in [*rounds[1:], set()]:
                shop.poison = poison
                for letter in await shop.letters():
                    await shop.redelivery.retry(letter.stream_name)
            assert await shop.letters() == []
            assert await shop.shown() == folded(history.events)

    asyncio.run(scenario())
