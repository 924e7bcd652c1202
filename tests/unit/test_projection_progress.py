"""How far projections are, as a command server hears it."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from twofold_server.commands.progress import ProjectionProgress, too_far_behind

PATIENCE = 30.0
"""Seconds that a test waits for what must happen at once."""


async def tell(progress: ProjectionProgress, projection: str, position: int, log: str = "log") -> None:
    notice = {"log_id": log, "position": position, "recorded_at": 1, "added later": True}
    await progress.heard(f"twofold.progress.{projection}", json.dumps(notice).encode())


@pytest.fixture
def progress() -> ProjectionProgress:
    return ProjectionProgress("log")


async def test_the_last_position_of_each_projection_is_known(progress: ProjectionProgress) -> None:
    for projection, position in [("orders", 3), ("sales", 7), ("orders", 5)]:
        await tell(progress, projection, position)
    assert progress.positions == {"orders": 5, "sales": 7}


async def test_a_projection_that_begins_anew_is_known_to_be_back(progress: ProjectionProgress) -> None:
    await tell(progress, "orders", 9)
    await tell(progress, "orders", 2)
    assert progress.positions == {"orders": 2}
    assert not await progress.reach("orders", 9, 0)


async def test_what_projections_of_another_log_have_applied_is_passed_over(
    progress: ProjectionProgress,
) -> None:
    await tell(progress, "orders", 9, log="another")
    assert progress.positions == {}
    assert not await progress.reach("orders", 1, 0)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"log_id": "log"}', b'{"log_id": "log", "position": "1"}']
)
async def test_what_is_no_notice_is_told_to_the_caller_and_changes_nothing(
    progress: ProjectionProgress, data: bytes
) -> None:
    with pytest.raises(msgspec.MsgspecError):
        await progress.heard("twofold.progress.orders", data)
    assert progress.positions == {}


@pytest.mark.parametrize("seconds", [PATIENCE, 0, -1])
async def test_what_is_reached_already_needs_no_wait(progress: ProjectionProgress, seconds: float) -> None:
    await tell(progress, "orders", 5)
    assert await progress.reach("orders", 5, seconds)


@pytest.mark.parametrize("seconds", [0.01, 0, -1])
async def test_a_wait_ends_with_its_time(progress: ProjectionProgress, seconds: float) -> None:
    await tell(progress, "orders", 4)
    assert not await progress.reach("orders", 5, seconds)


async def test_everyone_who_waits_is_woken_by_the_notice_that_reaches_theirs(
    progress: ProjectionProgress,
) -> None:
    waiting = [asyncio.create_task(progress.reach("orders", n, PATIENCE)) for n in (1, 2, 2, 3)]
    await tell(progress, "sales", 9)
    await tell(progress, "orders", 2)
    assert await asyncio.gather(*waiting[:3]) == [True] * 3
    assert not waiting[3].done()
    await tell(progress, "orders", 7)
    assert await waiting[3]


async def test_who_gives_up_is_forgotten(progress: ProjectionProgress) -> None:
    waiting = [asyncio.create_task(progress.reach("orders", 1, PATIENCE)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    await tell(progress, "orders", 1)
    assert await waiting[1]


# --- back-pressure -------------------------------------------------------------------------------


def test_a_projection_within_its_limit_presses_nobody() -> None:
    assert too_far_behind({"orders": 10}, {"orders": 90}, head=100) == ""
    assert too_far_behind({}, {"orders": 0}, head=100) == ""


def test_a_projection_beyond_its_limit_is_named_with_how_far_it_is_behind() -> None:
    why = too_far_behind({"sales": 50, "orders": 10}, {"orders": 89, "sales": 60}, head=100)
    assert why == "the read model orders is 11 events behind, the limit is 10"


def test_a_projection_that_was_never_heard_of_presses_nobody() -> None:
    assert too_far_behind({"orders": 0}, {"sales": 0}, head=100) == ""


def test_a_projection_that_is_ahead_of_what_this_server_knows_presses_nobody() -> None:
    assert too_far_behind({"orders": 0}, {"orders": 101}, head=100) == ""
