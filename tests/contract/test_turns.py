"""Of several processes on one PostgreSQL one works, and another one when that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest

from twofold_server.database.turns import PostgresTurns, open_turns

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(60)]


@asynccontextmanager
async def process(url: str, **how: float) -> AsyncIterator[PostgresTurns]:
    """The turns as a process sees them."""
    turns = PostgresTurns(url, look_seconds=0.01, **how)
    try:
        yield turns
    finally:
        await turns.close()


async def taken(turns: PostgresTurns, name: str) -> AsyncExitStack:
    """A turn that was waited for."""
    stack = AsyncExitStack()
    async with asyncio.timeout(20):
        await stack.enter_async_context(turns.turn(name))
    return stack


async def waits(turns: PostgresTurns, name: str) -> asyncio.Task[AsyncExitStack]:
    """A turn that is being waited for."""
    task = asyncio.create_task(taken(turns, name))
    await asyncio.wait([task], timeout=0.2)
    assert not task.done()
    return task


async def test_one_works_and_the_other_waits_until_it_is_done(url: str) -> None:
    async with process(url) as first, process(url) as second:
        turn = await taken(first, "orders")
        waiting = await waits(second, "orders")
        await turn.aclose()
        await (await waiting).aclose()


async def test_each_name_has_turns_of_its_own(url: str) -> None:
    async with (
        process(url) as first,
        process(url) as second,
        await taken(first, "orders"),
        await taken(second, "sales"),
    ):
        (await waits(first, "sales")).cancel()


async def test_a_turn_ends_with_the_process(url: str) -> None:
    async with process(url) as second:
        async with process(url) as first:
            turn = await taken(first, "orders")
            waiting = await waits(second, "orders")
        await (await waiting).aclose()
        await turn.aclose()


async def test_a_turn_ends_when_its_session_is_cut(url: str, operator: asyncpg.Connection) -> None:
    async with process(url) as first, process(url) as second:
        turn = await taken(first, "orders")
        waiting = await waits(second, "orders")
        await operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        )
        later = await waiting
        await turn.aclose()  # of what it does not have any more
        again = await waits(first, "orders")
        await later.aclose()
        await (await again).aclose()


async def test_a_turn_lasts_while_its_process_is_well(url: str) -> None:
    async with process(url, silent_seconds=0.4) as first, process(url) as second:
        async with await taken(first, "orders"), await taken(first, "sales"):
            waiting = await waits(second, "orders")
            await asyncio.sleep(1)
            assert not waiting.done()
        await (await waiting).aclose()


async def test_who_cannot_ask_says_why_and_goes_on_asking(url: str) -> None:
    async with process(url.replace("postgres@", "nobody@")) as turns:
        waiting = await waits(turns, "orders")
        assert "nobody" in turns.trouble
        waiting.cancel()


async def test_a_file_has_one_process_anyway() -> None:
    async with open_turns("sqlite+aiosqlite:///read.db") as turns, turns.turn("orders"):
        assert turns.trouble == ""
