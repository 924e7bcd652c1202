"""One writer: whatever waits is committed together, and everyone is told what came of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.appends import new_append, recorded
from tests.unit.stores import AWAY, ControlledStore
from twofold_server.errors import Unavailable
from twofold_server.event_store.appending import Basis, Conflict
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.expected_version import Exactly, NoStream
from twofold_server.event_store.group_commit import GroupCommit


class Writer(GroupCommit):
    """A group commit that remembers what its listener was told."""

    def __init__(self, store: ControlledStore, *, max_batch: int = 100) -> None:
        super().__init__(store, max_batch=max_batch, on_commit=self._told)
        self.told: list[list[int]] = []

    def _told(self, events: Sequence[RecordedEvent]) -> None:
        self.told.append([event.position for event in events])


async def test_an_append_is_committed_at_once_when_nothing_else_waits() -> None:
    store = ControlledStore()
    outcome = await Writer(store).submit(new_append())
    assert [e.position for e in recorded(outcome)] == [1]
    assert store.batches == [1]


async def test_what_comes_during_a_commit_is_committed_together() -> None:
    store = ControlledStore()
    writer = Writer(store)
    store.hold()
    first = writer.submit(new_append())
    await store.batch_waits()
    others = [writer.submit(new_append(f"order-{n}")) for n in range(7)]
    store.release()
    assert [recorded(o)[0].position for o in await asyncio.gather(first, *others)] == list(range(1, 9))
    assert store.batches == [1, 7]


async def test_a_batch_is_never_larger_than_allowed() -> None:
    store = ControlledStore()
    writer = Writer(store, max_batch=3)
    outcomes = await asyncio.gather(*(writer.submit(new_append(f"order-{n}")) for n in range(8)))
    assert [recorded(o)[0].position for o in outcomes] == list(range(1, 9))
    assert store.batches == [3, 3, 2]


async def test_listeners_hear_of_each_commit_in_order_before_its_callers_do() -> None:
    store = ControlledStore()
    writer = Writer(store, max_batch=2)
    heard: list[int] = []
    futures = [writer.submit(new_append(events=n)) for n in (1, 0, 2)]
    for future in futures:
        future.add_done_callback(lambda _: heard.append(sum(len(each) for each in writer.told)))
    await asyncio.gather(*futures)
    await asyncio.sleep(0)
    assert writer.told == [[1], [2, 3]]
    assert heard == [1, 1, 3]


async def test_listeners_do_not_hear_of_what_conflicts() -> None:
    writer = Writer(ControlledStore())
    outcomes = await asyncio.gather(
        writer.submit(new_append(expected=NoStream())), writer.submit(new_append(expected=NoStream()))
    )
    assert outcomes[1] == Conflict(1)
    assert writer.told == [[1]]


async def test_a_failed_batch_fails_all_of_its_appends_and_breaks_what_they_stand_on() -> None:
    store, bases = ControlledStore(), [Basis(), Basis()]
    writer = Writer(store)
    store.failures.append(AWAY)
    futures = [writer.submit(new_append(f"order-{n}", basis=basis)) for n, basis in enumerate(bases)]
    assert await asyncio.gather(*futures, return_exceptions=True) == [AWAY, AWAY]
    assert all(basis.broken for basis in bases)
    assert writer.told == []


async def test_after_a_failed_batch_the_next_one_is_committed() -> None:
    store = ControlledStore()
    writer = Writer(store, max_batch=1)
    store.failures.append(AWAY)
    first, second = writer.submit(new_append()), writer.submit(new_append("order-2"))
    assert recorded(await second)[0].position == 1
    with pytest.raises(Unavailable):
        await first


async def test_what_was_decided_on_a_batch_that_failed_conflicts_in_the_next() -> None:
    store, basis = ControlledStore(), Basis()
    writer = Writer(store, max_batch=1)
    store.failures.append(AWAY)
    first = writer.submit(new_append(expected=NoStream(), basis=basis))
    second = writer.submit(new_append(expected=Exactly(1), basis=basis))
    assert await second == Conflict(0)
    assert first.exception() is AWAY


async def test_a_cancelled_caller_leaves_its_append_which_is_committed_whole() -> None:
    store = ControlledStore()
    writer = Writer(store)
    store.hold()
    first = writer.submit(new_append())
    await store.batch_waits()
    cancelled = writer.submit(new_append("order-2", events=3))
    cancelled.cancel()
    first.cancel()
    store.release()
    await writer.close()
    assert await store.head() == 4
    assert await store.stream_version("order-2") == 3
    assert writer.told == [[1], [2, 3, 4]]


async def test_close_waits_until_everything_is_committed() -> None:
    store = ControlledStore()
    writer = Writer(store, max_batch=2)
    for n in range(5):
        writer.submit(new_append(f"order-{n}"))
    await writer.close()
    assert await store.head() == 5


async def test_a_listener_that_breaks_does_not_leave_callers_waiting() -> None:
    def breaks(_: Sequence[RecordedEvent]) -> None:
        raise LookupError("a mistake in a listener")

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # it would log it
    writer = GroupCommit(ControlledStore(), max_batch=10, on_commit=breaks)
    for position in (1, 2):
        assert recorded(await writer.submit(new_append()))[0].position == position
