"""A projection is kept up to date whatever the broker does to the events, and says when it is not."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.tables import OrderRow
from tests.order_histories import History, folded, order_codec
from twofold_server.database import Database, open_database
from twofold_server.errors import StartupError
from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import Projection
from twofold_server.projections.checkpoints import TakenOver
from twofold_server.projections.fold import Fold
from twofold_server.projections.loop import Pace
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.parking import Patience
from twofold_server.projections.projector import Projector
from twofold_server.projections.schema import prepare
from twofold_server.projections.sources import LogAway, LogBatch, gapless

pytestmark = pytest.mark.timeout(60)
QUICK = Pace(silence=0.02, stalled=0.3, retry=0.01, max_retry=0.05)
PATIENCE = Patience(attempts=2, pause=0.001, max_pause=0.01)


class Log:
    """A log in a list, which can be away."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.log_id = str(uuid.uuid4())
        self.away = False
        self.reads: list[int] = []

    async def read(self, after: int, *, limit: int) -> AsyncGenerator[LogBatch, None]:
        if self.away:
            raise LogAway("the command server is away")
        self.reads.append(after)
        events, head = self.history.events[after : after + limit], self.history.head
        for start in range(0, max(1, len(events)), 7):
            yield LogBatch(self.log_id, events[start : start + 7], head)

    async def read_stream(self, name: str, *, after: int = 0) -> list[RecordedEvent]:
        return [event for event in self.history.events if event.stream_name == name][after:]


class Broker:
    """A broker that brings what it is told to bring."""

    def __init__(self, *deliveries: Sequence[RecordedEvent]) -> None:
        self.deliveries = list(deliveries)
        self.trouble = ""
        self.resets = 0
        self.followed = ""
        self.closed = False

    def follow(self, log_id: str) -> None:
        self.followed = log_id

    async def next(self, after: int, timeout: float) -> Sequence[RecordedEvent]:
        if self.deliveries:
            await asyncio.sleep(0)
            return self.deliveries.pop(0)
        await asyncio.sleep(timeout)
        return ()

    def reset(self) -> None:
        self.resets += 1

    def look_failed(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path}/read.db", synchronous="OFF") as database:
        await database.write(lambda c: prepare(c, [orders_projection]))
        yield database


@pytest.fixture
def history() -> History:
    history = History()
    history.grow(30, seed=1)
    return history


def projector_of(
    database: Database,
    log: Log,
    broker: Broker,
    projection: Projection = orders_projection,
    patience: Patience = PATIENCE,
) -> Projector:
    return Projector(
        database=database,
        projections=[projection],
        codec=order_codec(),
        log=log,
        hints=lambda: broker,
        notices=ProgressNotices(None),
        pace=QUICK,
        patience=patience,
        read_size=20,
    )


@asynccontextmanager
async def running(projector: Projector) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(projector.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def shown(database: Database) -> dict[str, Order]:
    rows = await database.read(lambda c: c.execute(select(OrderRow.order_id, OrderRow.view)).all())
    return {order_id: Order.FromString(view) for order_id, view in rows}


async def reaches(database: Database, history: History, running: asyncio.Task[None]) -> None:
    """Wait until the read model is the fold of the log."""
    async with asyncio.timeout(10):
        while await position(database) < history.head:
            assert not running.done(), running.exception()
            await asyncio.sleep(0.002)
    assert await shown(database) == folded(history.events)


async def position(database: Database) -> int:
    found = await Fold(database=database, projection=orders_projection, codec=order_codec()).find()
    return found.position if found else -1


# --- events come as they like ---------------------------------------------------------------------


async def test_history_is_read_from_the_log(database: Database, history: History) -> None:
    async with running(projector_of(database, Log(history), Broker())) as task:
        await reaches(database, history, task)


async def test_live_events_come_from_the_broker_alone(database: Database, history: History) -> None:
    log, broker = Log(history), Broker()
    async with running(projector_of(database, log, broker)) as task:
        await reaches(database, history, task)
        log.away = True
        history.grow(50, seed=2)
        broker.deliveries += [history.events[30:45], history.events[45:]]
        await reaches(database, history, task)
    assert broker.followed == log.log_id
    assert broker.closed


async def test_the_log_is_looked_at_when_the_broker_is_silent(database: Database, history: History) -> None:
    broker = Broker()
    async with running(projector_of(database, Log(history), broker)) as task:
        await reaches(database, history, task)
        history.grow(50, seed=2)
        await reaches(database, history, task)
    assert broker.resets, "a broker that kept silent about events must be asked anew"


async def test_a_hole_is_filled_from_the_log(database: Database, history: History) -> None:
    log, broker = Log(history), Broker()
    projector = projector_of(database, log, broker)
    async with running(projector) as task:
        await reaches(database, history, task)
        history.grow(50, seed=2)
        broker.deliveries += [history.events[40:]]
        await reaches(database, history, task)


async def test_a_hole_waits_for_the_log(database: Database, history: History) -> None:
    log, broker = Log(history), Broker()
    async with running(projector_of(database, log, broker)) as task:
        await reaches(database, history, task)
        log.away = True
        history.grow(10, seed=2)
        broker.deliveries += [history.events[34:]]
        await until(lambda: broker.resets > 0)
        assert await position(database) == 30
        log.away = False
        await reaches(database, history, task)


def deliveries(history: History) -> st.SearchStrategy[list[list[RecordedEvent]]]:
    """What may arrive of a history: any events, any number of times, in any order and grouping."""
    return st.lists(st.lists(st.sampled_from(history.events), max_size=12), max_size=20)


@st.composite
def misadventures(draw: st.DrawFn) -> tuple[History, list[list[RecordedEvent]], int]:
    history = History()
    history.grow(draw(st.integers(1, 60)), seed=draw(st.integers(0, 1000)))
    known = draw(st.integers(0, history.head))
    return history, draw(deliveries(history)), known


@settings(max_examples=40, deadline=None)
@given(misadventures())
def test_lost_doubled_and_shuffled_events_end_in_the_fold_of_the_log(
    misadventure: tuple[History, list[list[RecordedEvent]], int],
) -> None:
    history, arriving, known = misadventure

    async def scenario() -> None:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite+aiosqlite:///{folder}/read.db"
            async with open_database(url, synchronous="OFF", readers=1) as database:
                # At first the log is shorter, so that events come from the broker and not only from it.
                whole, log = history.events, Log(history)
                history.events = whole[:known]
                async with running(projector_of(database, log, Broker(*arriving))) as task:
                    await until(lambda: bool(log.reads))
                    history.events = whole
                    await reaches(database, history, task)

    asyncio.run(scenario())


@given(st.data())
def test_gapless_takes_what_follows_and_nothing_else(data: st.DataObject) -> None:
    history = History()
    history.grow(10, seed=0)
    events = data.draw(st.lists(st.sampled_from(history.events)))
    after = data.draw(st.integers(0, 10))
    found = [event.position for event in gapless(events, after=after)]
    assert found == list(range(after + 1, after + 1 + len(found)))
    assert after + 1 + len(found) not in {event.position for event in events}


# --- restarts and rivals ----------------------------------------------------------------------------


async def test_a_restart_reads_nothing_twice(database: Database, history: History) -> None:
    async with running(projector_of(database, Log(history), Broker())) as task:
        await reaches(database, history, task)
    history.grow(20, seed=3)
    log = Log(history)
    log.log_id = await known_log(database)
    async with running(projector_of(database, log, Broker())) as task:
        await reaches(database, history, task)
    assert min(log.reads) == 30


async def known_log(database: Database) -> str:
    found = await Fold(database=database, projection=orders_projection, codec=order_codec()).find()
    assert found is not None
    return found.log_id


async def test_a_restart_without_the_command_server_goes_on_with_the_broker(
    database: Database, history: History
) -> None:
    log = Log(history)
    async with running(projector_of(database, log, Broker())) as task:
        await reaches(database, history, task)
    log.away = True
    history.grow(20, seed=3)
    async with running(projector_of(database, log, Broker(history.events[30:]))) as task:
        await reaches(database, history, task)


async def test_of_two_projectors_the_older_one_stops(database: Database, history: History) -> None:
    log = Log(history)
    async with running(projector_of(database, log, Broker())) as older:
        await reaches(database, history, older)
        async with running(projector_of(database, log, Broker())) as newer:
            history.grow(20, seed=3)
            await reaches(database, history, newer)
            await asyncio.wait([older], timeout=10)
            assert isinstance(older.exception(), TakenOver)


async def test_a_cancelled_projector_finishes_the_batch_under_way(
    database: Database, history: History
) -> None:
    projector = projector_of(database, Log(history), Broker())
    task = asyncio.create_task(projector.run())
    await until(lambda: projector.trouble == "" or task.done())
    task.cancel()
    await asyncio.wait([task])
    done = await position(database)
    assert await shown(database) == folded(history.events[:done])


async def test_another_log_stops_the_projector(database: Database, history: History) -> None:
    log = Log(history)
    async with running(projector_of(database, log, Broker())) as task:
        await reaches(database, history, task)
        log.log_id = str(uuid.uuid4())
        await asyncio.wait([task], timeout=10)
        with pytest.raises(StartupError, match="use another read database"):
            task.result()


async def test_names_of_projections_are_checked(database: Database, history: History) -> None:
    with pytest.raises(StartupError, match="small letters"):
        projector_of(database, Log(history), Broker(), replace(orders_projection, name="a.b"))


# --- health -------------------------------------------------------------------------------------------


async def test_a_projector_that_cannot_start_says_why(database: Database, history: History) -> None:
    log = Log(history)
    log.away = True
    projector = projector_of(database, log, Broker())
    async with running(projector) as task:
        await until(lambda: "the command server is away" in projector.trouble)
        log.away = False
        await reaches(database, history, task)
        assert projector.trouble == ""


async def test_a_parked_key_does_not_hold_up_the_projector(database: Database, history: History) -> None:
    projector = projector_of(database, Log(history), Broker())
    async with running(projector) as task:
        await reaches(database, history, task)
        history.paid("nobody")
        known = history.events[:30]
        history.grow(20, seed=2)
        async with asyncio.timeout(10):
            while await position(database) < history.head:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        assert await shown(database) == folded(known + history.events[31:])
        assert projector.trouble == ""


async def test_a_stalled_projector_says_where_and_why(database: Database, history: History) -> None:
    log = Log(history)
    projector = projector_of(database, log, Broker(), patience=replace(PATIENCE, max_parked=0))
    async with running(projector) as task:
        await reaches(database, history, task)
        history.paid("nobody")
        await until(lambda: projector.trouble != "")
        assert "projection orders is at position 30, the log at 31" in projector.trouble
        assert "no row for order nobody" in projector.trouble
        assert not task.done()


async def test_a_projector_without_log_and_broker_is_not_sure_of_itself(
    database: Database, history: History
) -> None:
    log, broker = Log(history), Broker()
    projector = projector_of(database, log, broker)
    async with running(projector) as task:
        await reaches(database, history, task)
        log.away, broker.trouble = True, "NATS is away"
        await until(lambda: "the command server is away" in projector.trouble)
        broker.trouble = ""
        await until(lambda: projector.trouble == "")


async def test_an_idle_projector_is_well(database: Database, history: History) -> None:
    projector = projector_of(database, Log(history), Broker())
    async with running(projector) as task:
        await reaches(database, history, task)
        end = time.monotonic() + 3 * QUICK.stalled
        while time.monotonic() < end:
            assert projector.trouble == ""
            await asyncio.sleep(0.01)


async def test_a_log_that_was_cut_back_is_told(database: Database, history: History) -> None:
    projector = projector_of(database, Log(history), Broker())
    async with running(projector) as task:
        await reaches(database, history, task)
        del history.events[20:]
        await until(lambda: "the log ends at 20" in projector.trouble)
