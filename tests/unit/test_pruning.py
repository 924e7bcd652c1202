"""Answers to request ids expire, in small batches, and the log goes on whatever happens to that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from tests.appends import append, new_id
from tests.unit.command_side import command_side
from tests.unit.order_messages import create
from tests.unit.stores import AWAY
from twofold_server.commands import pruning
from twofold_server.commands.pruning import BATCH, prune_for_ever
from twofold_server.event_store.memory import MemoryEventStore

AT_ONCE = -60.0
"""Keeps nothing: what is recorded now is too old already."""
AN_HOUR = 3600.0


class Store(MemoryEventStore):
    """Tells of each look for old answers."""

    def __init__(self) -> None:
        super().__init__()
        self.pruned: list[int] = []
        self.limits: set[int] = set()
        self.failures: deque[Exception] = deque()
        self._looked = asyncio.Event()

    async def prune_responses(self, recorded_before: int, *, limit: int = 1000) -> int:
        """See EventStore."""
        self._looked.set()
        self.limits.add(limit)
        if self.failures:
            raise self.failures.popleft()
        self.pruned.append(await super().prune_responses(recorded_before, limit=limit))
        return self.pruned[-1]

    async def looked(self) -> None:
        """Wait for the next look to be over."""
        self._looked.clear()
        await self._looked.wait()
        await asyncio.sleep(0)

    async def answer(self, count: int) -> list[str]:
        """Store answers to so many request ids."""
        ids = [new_id() for _ in range(count)]
        for n, request_id in enumerate(ids):
            await append(self, f"order-{n}", request_id=request_id)
        return ids

    async def known(self, ids: list[str]) -> int:
        """How many of these are answered still."""
        return sum([await self.find_response(request_id) is not None for request_id in ids])


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "PAUSE", 0)


@asynccontextmanager
async def pruned(store: Store, keep_seconds: float) -> AsyncIterator[None]:
    task = asyncio.create_task(prune_for_ever(store, keep_seconds=keep_seconds, interval=0))
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_old_answers_go_in_small_batches_until_none_is_left(store: Store) -> None:
    ids = await store.answer(2 * BATCH + 10)
    async with pruned(store, AT_ONCE):
        while await store.known(ids):
            await store.looked()
    assert store.pruned[:3] == [BATCH, BATCH, 10]
    assert store.limits == {BATCH}


async def test_answers_that_are_not_old_stay(store: Store) -> None:
    ids = await store.answer(3)
    async with pruned(store, AN_HOUR):
        for _ in range(3):
            await store.looked()
    assert await store.known(ids) == 3


async def test_what_gets_old_later_goes_later(store: Store) -> None:
    async with pruned(store, AT_ONCE):
        await store.looked()
        ids = await store.answer(5)
        while await store.known(ids):
            await store.looked()


async def test_events_stay_whatever_is_pruned(store: Store) -> None:
    ids = await store.answer(3)
    async with pruned(store, AT_ONCE):
        while await store.known(ids):
            await store.looked()
    assert await store.head() == 3


async def test_a_store_that_is_away_is_looked_at_again(store: Store) -> None:
    ids = await store.answer(3)
    store.failures.extend([AWAY, AWAY])
    with capture_logs() as lines:
        async with pruned(store, AT_ONCE):
            while await store.known(ids):
                await store.looked()
    told = [(line["log_level"], line["event"]) for line in lines]
    assert told[:3] == [("warning", "request ids not pruned")] * 2 + [("info", "request ids pruned")]


async def test_nothing_is_said_where_nothing_was_old(store: Store) -> None:
    with capture_logs() as lines:
        async with pruned(store, AN_HOUR):
            for _ in range(3):
                await store.looked()
    assert lines == []


async def test_a_request_id_whose_answer_is_gone_is_a_new_command(store: Store) -> None:
    server, request_id = command_side(store), new_id()
    await server.send(create(order_id=""), request_id=request_id)
    async with pruned(store, AT_ONCE):
        while await store.known([request_id]):
            await store.looked()
    again = await server.send(create(order_id=""), request_id=request_id)
    assert (again.position, again.replayed) == (2, False)
