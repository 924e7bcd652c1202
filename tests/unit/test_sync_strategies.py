"""When projections are brought up to date: what settings mean, and how events are held back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from tests.order_histories import History
from twofold_server.errors import StartupError
from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import Projection
from twofold_server.projections.pacing import BatchedHints, ScheduledHints, paced
from twofold_server.projections.strategies import EVENTUAL, Strategy, parse, strategies


def projection(name: str, sync: str = "eventual") -> Projection:
    return Projection(name=name, sync=sync, tables=[], handlers={}, prefetch={})


PROJECTIONS = (projection("orders"), projection("order_sales", "batched(500, 0.05)"))


class Source:
    """Brings what it is told to bring, one delivery at a time."""

    def __init__(self, *deliveries: Sequence[RecordedEvent]) -> None:
        self.deliveries = list(deliveries)
        self.asked: list[int] = []
        self.trouble = ""

    def follow(self, log_id: str) -> None:
        pass

    async def next(self, after: int, timeout: float) -> Sequence[RecordedEvent]:
        self.asked.append(after)
        if self.deliveries:
            return self.deliveries.pop(0)
        await asyncio.sleep(timeout)
        return ()

    def reset(self) -> None:
        pass

    def look_failed(self) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.fixture
def events() -> list[RecordedEvent]:
    history = History()
    history.grow(10, seed=1)
    return history.events


# --- what the setting means ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("eventual", EVENTUAL),
        ("immediate", Strategy(immediate=True)),
        ("batched(500, 0.2)", Strategy(size=500, linger=0.2)),
        (" batched( 2,30 ) ", Strategy(size=2, linger=30)),
        ("scheduled(60)", Strategy(interval=60)),
        ("scheduled(0.5)", Strategy(interval=0.5)),
    ],
)
def test_a_strategy_is_read_and_shown(text: str, strategy: Strategy) -> None:
    assert parse(text) == strategy
    assert parse(str(strategy)) == strategy


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is none; use immediate, eventual, batched"),
        ("sometimes", "'sometimes' is none"),
        ("batched(500)", "is none"),
        ("batched(x, 1)", "is none"),
        ("batched(1, 1)", "a batch has 2 to 100,000 events, not 1"),
        ("batched(100001, 1)", "a batch has 2 to"),
        ("batched(5, 0)", "seconds must be more than 0"),
        ("scheduled(0)", "seconds must be more than 0"),
        ("scheduled(86401)", "at most 86,400"),
        ("scheduled(-1)", "is none"),
    ],
)
def test_what_is_no_strategy_is_told_with_what_there_is(text: str, why: str) -> None:
    with pytest.raises(StartupError) as refusal:
        strategies({"orders": text}, PROJECTIONS)
    assert str(refusal.value).startswith("TWOFOLD_PROJECTION_SYNC is wrong for projection orders: ")
    assert why in str(refusal.value)


def test_each_projection_has_its_own_where_the_setting_does_not_name_it() -> None:
    found = strategies({"orders": "immediate"}, PROJECTIONS)
    assert found == {"orders": Strategy(immediate=True), "order_sales": Strategy(size=500, linger=0.05)}
    found = strategies({"order_sales": "eventual"}, PROJECTIONS)
    assert found == {"orders": EVENTUAL, "order_sales": EVENTUAL}


def test_what_a_projection_declares_wrongly_is_told() -> None:
    with pytest.raises(StartupError, match=r"^Projection.sync is wrong for projection reports: 'daily'"):
        strategies({}, [projection("reports", "daily")])


def test_an_unknown_projection_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(StartupError, match="names the projection order; there are order_sales, orders"):
        strategies({"order": "immediate"}, PROJECTIONS)


# --- batches ------------------------------------------------------------------------------------------


async def test_events_wait_until_there_are_enough(events: list[RecordedEvent]) -> None:
    source = Source(events[:2], events[2:3], events[3:6], events[6:])
    assert await BatchedHints(source, 5, 60).next(0, 60) == events[:6]
    assert source.asked == [0, 2, 3]


async def test_events_wait_no_longer_than_they_may(events: list[RecordedEvent]) -> None:
    began = time.monotonic()
    assert await BatchedHints(Source(events[:2]), 5, 0.05).next(0, 60) == events[:2]
    assert 0.04 < time.monotonic() - began < 10


async def test_silence_is_not_made_longer() -> None:
    assert await BatchedHints(Source(), 5, 60).next(0, 0.01) == []


async def test_a_hole_is_not_waited_over(events: list[RecordedEvent]) -> None:
    source = Source(events[:2], events[4:6])
    assert await BatchedHints(source, 10, 60).next(0, 60) == events[:2] + events[4:6]


async def test_a_strategy_without_a_pause_takes_events_as_they_come() -> None:
    source = Source()
    assert paced(source, EVENTUAL) is source
    assert paced(source, Strategy(immediate=True)) is source


# --- a schedule ---------------------------------------------------------------------------------------


async def test_a_schedule_is_silent_for_its_interval() -> None:
    hints = ScheduledHints(0.05)
    began = time.monotonic()
    assert [await hints.next(0, 1) for _ in range(2)] == [(), ()]
    assert 0.09 < time.monotonic() - began < 10


async def test_a_log_that_was_away_is_looked_at_again_soon() -> None:
    hints = paced(Source(), Strategy(interval=0.05))
    await hints.next(0, 1)
    hints = ScheduledHints(3600)
    hints.look_failed()
    async with asyncio.timeout(10):
        assert await hints.next(0, 0.01) == ()
