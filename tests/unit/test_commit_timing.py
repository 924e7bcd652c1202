"""When a batch is committed: at once for a lone caller, together for a crowd, and never late."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.appends import new_append, recorded
from tests.e2e.conditions import until
from tests.unit.stores import AWAY, ControlledStore, decided
from twofold_server.errors import Unavailable
from twofold_server.event_store.appending import AppendOutcome
from twofold_server.event_store.group_commit import (
    FADING,
    FORGOTTEN,
    MAX_PATIENCE,
    PATIENCE,
    GroupCommit,
    _Recent,
)

FOR_EVER = 600.0
"""Seconds that no test waits."""


def writer_of(store: ControlledStore, *, max_batch: int = 100, linger: float = 0.0) -> GroupCommit:
    return GroupCommit(store, max_batch=max_batch, on_commit=lambda events: None, linger=linger)


def submit(writer: GroupCommit, count: int) -> list[asyncio.Future[AppendOutcome]]:
    return [writer.submit(new_append(f"order-{n}")) for n in range(count)]


async def committed_as_one(writer: GroupCommit, store: ControlledStore, count: int) -> None:
    """A batch of so many is committed."""
    await asyncio.gather(*submit(writer, count))
    assert store.batches[-1] == count


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The callers of a batch are waited for as long as it takes them."""
    monkeypatch.setattr(_Recent, "patience", lambda recent: FOR_EVER if recent.crowd > 1 else 0.0)


# --- the callers of the last batch ---------------------------------------------------------------


@pytest.mark.usefixtures("patient")
async def test_the_callers_of_the_last_batch_are_waited_for() -> None:
    store = ControlledStore()
    writer = writer_of(store)
    await committed_as_one(writer, store, 5)
    begun = submit(writer, 4)
    await decided()
    assert not any(each.done() for each in begun)
    await asyncio.gather(*begun, *submit(writer, 1))
    assert store.batches[-1] == 5


@pytest.mark.usefixtures("patient")
async def test_when_more_have_come_than_the_last_time_nobody_is_waited_for() -> None:
    store = ControlledStore()
    writer = writer_of(store)
    await committed_as_one(writer, store, 5)
    await asyncio.gather(*submit(writer, 8))
    assert store.batches[-1] == 8


@pytest.mark.usefixtures("patient")
async def test_a_batch_that_is_full_waits_for_nobody() -> None:
    store = ControlledStore()
    writer = writer_of(store, max_batch=5)
    await committed_as_one(writer, store, 5)
    await asyncio.gather(*submit(writer, 5))
    assert store.batches[-1] == 5


@pytest.mark.usefixtures("patient")
async def test_a_lone_caller_never_waits() -> None:
    store = ControlledStore()
    writer = writer_of(store)
    for position in range(1, 5):
        assert recorded(await writer.submit(new_append()))[0].position == position
    assert store.batches == [1] * 4


@pytest.mark.parametrize("max_batch", [5, 100])
async def test_callers_who_do_not_come_again_are_not_waited_for_long(max_batch: int) -> None:
    store = ControlledStore()
    writer = writer_of(store, max_batch=max_batch)
    await committed_as_one(writer, store, 5)
    async with asyncio.timeout(30):
        await writer.submit(new_append())
    assert store.batches[-1] == 1


def recent(*, crowd: int = 2, seconds: float = 0.003, busy: float = 1.0, ago: float = 0.0) -> _Recent:
    return _Recent(crowd, seconds, busy, time.monotonic() - ago)


def test_the_busier_the_event_loop_the_longer_the_callers_are_waited_for() -> None:
    assert recent(busy=1.0).patience() == pytest.approx(PATIENCE * 0.003)
    assert recent(busy=0.2).patience() == pytest.approx(PATIENCE * 0.2 * 0.003)
    assert recent(busy=0.0).patience() == 0.0
    assert recent(seconds=60).patience() == MAX_PATIENCE


def test_nobody_is_waited_for_after_a_lone_caller_or_after_a_pause() -> None:
    assert recent(crowd=1).patience() == 0.0
    assert recent(ago=FORGOTTEN).patience() == 0.0


def test_how_long_commits_take_is_forgotten_slowly_how_many_callers_there_were_at_once() -> None:
    after = recent(crowd=9, seconds=0.01, ago=1).after(3, 0.002)
    assert after.crowd == 3
    assert after.seconds == pytest.approx(FADING * 0.01)
    assert after.after(3, 0.02).seconds == 0.02


@pytest.mark.usefixtures("patient")
async def test_those_who_came_during_the_last_commit_are_waited_for_together_with_its_own_callers() -> None:
    store = ControlledStore()
    writer = writer_of(store)
    store.hold()
    first = writer.submit(new_append())
    await store.batch_waits()
    others = submit(writer, 3)
    store.release()
    await first
    await decided()
    assert not any(each.done() for each in others)
    await asyncio.gather(*others, *submit(writer, 1))
    assert store.batches == [1, 4]


# --- linger --------------------------------------------------------------------------------------


async def test_with_a_linger_also_a_lone_caller_waits_for_others() -> None:
    store = ControlledStore()
    writer = writer_of(store, linger=FOR_EVER, max_batch=3)
    begun = submit(writer, 1)
    await decided()
    assert store.batches == []
    begun += submit(writer, 1)
    await decided()
    assert store.batches == []
    await asyncio.gather(*begun, *submit(writer, 1))
    assert store.batches == [3], "full"


async def test_a_linger_ends_with_its_time() -> None:
    store = ControlledStore()
    writer = writer_of(store, linger=0.001)
    for _ in range(3):
        await asyncio.gather(*submit(writer, 2))
    assert store.batches == [2, 2, 2]


async def test_what_is_more_than_a_batch_goes_on_without_linger_as_far_as_it_is_full() -> None:
    store = ControlledStore()
    writer = writer_of(store, linger=FOR_EVER, max_batch=3)
    await asyncio.gather(*submit(writer, 9))
    assert store.batches == [3, 3, 3]


async def test_closing_waits_for_what_lingers() -> None:
    store = ControlledStore()
    writer = writer_of(store, linger=0.001)
    submit(writer, 2)
    await writer.close()
    assert await store.head() == 2


# --- the age of the queue ------------------------------------------------------------------------


async def test_the_queue_has_no_age_while_nothing_waits_behind_the_batch_under_way() -> None:
    store = ControlledStore()
    writer = writer_of(store)
    assert writer.queue_age == 0
    store.hold()
    first = writer.submit(new_append())
    assert writer.queue_age == 0, "it has not begun"
    await store.batch_waits()
    assert writer.queue_age == 0, "nothing is behind it"
    second = writer.submit(new_append())
    await until(lambda: writer.queue_age > 0.005, "time passes")
    store.release()
    await asyncio.gather(first, second)
    assert writer.queue_age == 0


async def test_the_queue_is_young_again_after_a_failure() -> None:
    store = ControlledStore()
    store.failures.append(AWAY)
    writer = writer_of(store, max_batch=1)
    store.hold()
    first, second = writer.submit(new_append()), writer.submit(new_append())
    await store.batch_waits()
    await until(lambda: writer.queue_age > 0.005, "time passes")
    store.release()
    with pytest.raises(Unavailable):
        await first
    await second
    assert writer.queue_age == 0
