"""The live end of the log, from memory: never a hole, never an event twice."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.feed import Feed
from twofold_server.modelling import EventMetadata

PATIENCE = 30.0
"""Seconds that a test waits for what must happen at once."""


def event(position: int) -> RecordedEvent:
    return RecordedEvent(position, "order-1", position, "id", "a.B", 1, b"", EventMetadata(), 0)


def events(first: int, last: int) -> list[RecordedEvent]:
    return [event(position) for position in range(first, last + 1)]


def positions(found: list[RecordedEvent] | None) -> list[int] | None:
    return None if found is None else [e.position for e in found]


def test_events_are_served_from_memory_after_any_position_that_it_reaches() -> None:
    feed = Feed("log", 4)
    feed.publish(events(5, 7))
    feed.publish(events(8, 9))
    assert feed.head == 9
    assert positions(feed.recent(4, 100)) == [5, 6, 7, 8, 9]
    assert positions(feed.recent(6, 100)) == [7, 8, 9]
    assert positions(feed.recent(4, 2)) == [5, 6]
    assert positions(feed.recent(9, 100)) == []


def test_memory_says_so_where_it_does_not_reach_back() -> None:
    feed = Feed("log", 4)
    feed.publish(events(5, 7))
    assert feed.recent(3, 100) is None
    assert Feed("log", 4).recent(3, 100) is None


def test_memory_forgets_the_oldest_beyond_its_capacity() -> None:
    feed = Feed("log", 0, capacity=3)
    feed.publish(events(1, 5))
    assert feed.recent(1, 100) is None
    assert positions(feed.recent(2, 100)) == [3, 4, 5]


def test_after_another_servers_events_the_log_is_asked() -> None:
    feed = Feed("log", 0)
    feed.publish(events(1, 3))
    feed.publish(events(6, 7))
    assert feed.head == 7
    assert feed.recent(2, 100) is None
    assert positions(feed.recent(5, 100)) == [6, 7]


def test_a_head_without_its_events_sends_readers_to_the_log() -> None:
    feed = Feed("log", 0)
    feed.publish(events(1, 3))
    feed.advance(5)
    assert feed.head == 5
    assert feed.recent(3, 100) is None


def test_events_that_were_overtaken_by_another_servers_leave_no_hole() -> None:
    feed = Feed("log", 4)
    feed.advance(7)  # this server's 5 and another one's 6 and 7, seen in the log
    feed.publish(events(5, 5))
    feed.publish(events(8, 8))
    assert positions(feed.recent(5, 100)) in (None, [6, 7, 8])
    assert positions(feed.recent(7, 100)) == [8]


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), max_size=20), st.integers(1, 12))
def test_whatever_comes_in_whatever_order_what_memory_serves_is_contiguous(
    commits: list[tuple[int, bool, bool]], capacity: int
) -> None:
    feed, last = Feed("log", 0, capacity=capacity), 0
    for count, ours, seen_in_the_log_first in commits:
        first, last = last + 1, last + count
        if seen_in_the_log_first or not ours:
            feed.advance(last)
        if ours:
            feed.publish(events(first, last))
        assert feed.head == last
        for after in range(last + 1):
            found = positions(feed.recent(after, 5))
            assert found is None or found == list(range(after + 1, min(after + 5, last) + 1))


def test_the_head_never_goes_back() -> None:
    feed = Feed("log", 9)
    feed.advance(3)
    feed.publish(events(8, 8))
    feed.publish([])
    assert feed.head == 9


async def test_notices_of_this_log_move_the_head_and_those_of_another_do_not() -> None:
    feed = Feed("log", 3)
    await feed.heard("twofold.head", b'{"log_id": "another", "position": 9}')
    assert feed.head == 3
    await feed.heard("twofold.head", b'{"log_id": "log", "position": 5, "added later": true}')
    assert feed.head == 5


async def test_who_waits_is_woken_by_the_next_commit() -> None:
    feed = Feed("log", 3)
    waiters = [asyncio.create_task(feed.wait_beyond(3, PATIENCE)) for _ in range(3)]
    await asyncio.sleep(0)
    feed.publish(events(4, 4))
    await asyncio.gather(*waiters)


async def test_who_waits_for_what_is_there_does_not_wait() -> None:
    await Feed("log", 4).wait_beyond(3, PATIENCE)


async def test_a_wait_ends_without_news() -> None:
    feed = Feed("log", 3)
    await feed.wait_beyond(3, 0.001)
    assert feed.head == 3


async def test_a_cancelled_wait_is_forgotten() -> None:
    feed = Feed("log", 3)
    task = asyncio.create_task(feed.wait_beyond(3, PATIENCE))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    feed.publish(events(4, 4))
