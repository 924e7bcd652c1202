"""Requests that come together are answered together, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from twofold_server.queries.coalescing import CROWDED, Coalescer


class Store:
    """Answers after it was let go; remembers what was asked together."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def read_all(self, requests: Sequence[Any]) -> Sequence[str]:
        self.batches.append(list(requests))
        await self.let_go.wait()
        if "bad" in requests:
            raise LookupError("bad")
        return [f"answer to {request}" for request in requests]


@pytest.fixture
async def store() -> Store:
    return Store()


async def test_requests_of_one_turn_are_one_read(store: Store) -> None:
    coalescer = Coalescer(store.read_all)
    answers = await asyncio.gather(*(coalescer.ask(n) for n in range(5)))
    assert answers == [f"answer to {n}" for n in range(5)]
    assert store.batches == [[0, 1, 2, 3, 4]]


async def test_requests_gather_while_a_read_is_under_way(store: Store) -> None:
    store.let_go.clear()
    coalescer = Coalescer(store.read_all)
    answers = [coalescer.ask("first")]
    while not store.batches:  # noqa: ASYNC110
        await asyncio.sleep(0)
    answers += [coalescer.ask(n) for n in range(3)]
    store.let_go.set()
    assert (await asyncio.gather(*answers))[0] == "answer to first"
    assert store.batches == [["first"], [0, 1, 2]]


async def test_a_batch_is_bounded(store: Store) -> None:
    coalescer = Coalescer(store.read_all, max_batch=2)
    answers = await asyncio.gather(*(coalescer.ask(n) for n in range(5)))
    assert answers[4] == "answer to 4"
    assert store.batches == [[0, 1], [2, 3], [4]]


async def test_a_read_that_fails_fails_its_own_requests_only(store: Store) -> None:
    coalescer = Coalescer(store.read_all)
    with pytest.raises(LookupError):
        await coalescer.ask("bad")
    assert await coalescer.ask("good") == "answer to good"


async def test_a_caller_that_gives_up_does_not_hurt_the_others(store: Store) -> None:
    store.let_go.clear()
    coalescer = Coalescer(store.read_all)
    gone, there = coalescer.ask("gone"), coalescer.ask("there")
    await asyncio.sleep(0)
    gone.cancel()
    store.let_go.set()
    assert await there == "answer to there"


async def test_in_a_crowd_reads_wait_for_more_requests(store: Store) -> None:
    coalescer = Coalescer(store.read_all)

    async def keep_asking(name: int) -> None:
        for _ in range(30):
            await coalescer.ask(name)
            await asyncio.sleep(0.0001 * (name % 7))

    await asyncio.gather(*(keep_asking(n) for n in range(40)))
    late = store.batches[CROWDED + 1 :]
    assert sum(map(len, late)) / len(late) > 4


async def test_a_lone_caller_after_a_crowd_is_not_kept_waiting_for_long(store: Store) -> None:
    coalescer = Coalescer(store.read_all)
    coalescer._crowd = CROWDED
    await coalescer.ask(1)
    assert coalescer._crowd == 0
