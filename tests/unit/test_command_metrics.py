"""What the write side counts: commands by outcome and time, commits by size and time."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from tests.appends import new_append
from tests.unit.command_side import CommandSide
from tests.unit.order_messages import add, create, pay, ship
from tests.unit.stores import ControlledStore, decided
from twofold_server.commands import metrics
from twofold_server.commands.bus import CommandBus, Next
from twofold_server.commands.call import CommandCall, CommandResult
from twofold_server.commands.metrics import CommandMetrics
from twofold_server.commands.middleware import observing
from twofold_server.errors import Rejected
from twofold_server.event_store.group_commit import CommitStatistics, GroupCommit
from twofold_server.rpc.command_services import command_call

NOTHING = {
    "commands": 0,
    "p50_ms": 0.0,
    "p99_ms": 0.0,
    "commits": 0,
    "mean_batch": 0.0,
    "max_batch": 0,
    "mean_commit_ms": 0.0,
}


def test_what_was_counted_is_told_once() -> None:
    commits = CommitStatistics()
    counted = CommandMetrics(commits)
    for milliseconds in range(1, 101):
        counted.count("ok" if milliseconds > 3 else "ORDER_NOT_PAID", milliseconds / 1000)
    commits.count(90, 0.004)
    commits.count(7, 0.002)
    assert counted.take() == {
        "commands": 100,
        "p50_ms": 51.0,
        "p99_ms": 100.0,
        "commits": 2,
        "mean_batch": 48.5,
        "max_batch": 90,
        "mean_commit_ms": 3.0,
        "ok": 97,
        "order_not_paid": 3,
    }
    assert counted.take() == NOTHING


def test_where_nothing_happened_everything_is_nothing() -> None:
    assert CommandMetrics(CommitStatistics()).take() == NOTHING


async def test_a_commit_counts_with_all_of_its_appends() -> None:
    store = ControlledStore()
    writer = GroupCommit(store, max_batch=100, on_commit=lambda events: None)
    store.hold()
    first = writer.submit(new_append())
    await store.batch_waits()
    others = [writer.submit(new_append(f"order-{n}")) for n in range(9)]
    store.release()
    await asyncio.gather(first, *others)
    told = writer.statistics.take()
    assert (told["commits"], told["mean_batch"], told["max_batch"]) == (2, 5.0, 9)


async def test_a_line_is_written_now_and_then_where_something_happened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "INTERVAL", 0)
    counted = CommandMetrics(CommitStatistics())
    with capture_logs() as lines:
        telling = asyncio.create_task(counted.run())
        await decided()
        assert lines == []
        counted.count("ok", 0.001)
        await decided()
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    [line] = lines
    assert (line["event"], line["commands"], line["ok"]) == ("metrics", 1, 1)


# --- the middleware that counts ------------------------------------------------------------------


async def observed(server: CommandSide, *commands: object, fails: Exception | None = None) -> CommandMetrics:
    """What was counted of some commands, whatever came of them."""

    async def handle(call: CommandCall) -> CommandResult:
        if fails is not None:
            raise fails
        return await server.execution.execute(call)

    counted = CommandMetrics(server.writer.statistics)
    entry: Next = CommandBus(handle, [observing(counted)]).dispatch
    for command in commands:
        contract = server.contract.commands[command.DESCRIPTOR.full_name]  # type: ignore[attr-defined]
        await asyncio.gather(entry(command_call(contract, command, {})), return_exceptions=True)
    return counted


async def test_every_outcome_counts_under_its_own_name(server: CommandSide) -> None:
    again = add("milk")
    again.request_id = "7d9f0f5e-7a55-4ac4-a55b-1b5f5d1f2a01"
    told = (await observed(server, create(), again, again, ship(), pay(), ship())).take()
    assert told["commands"] == 6
    assert {name: told[name] for name in ("ok", "replayed", "order_not_paid")} == {
        "ok": 4,
        "replayed": 1,
        "order_not_paid": 1,
    }


@pytest.mark.parametrize(
    ("error", "name"), [(Rejected("LAST_ITEM", "no"), "last_item"), (LookupError("x"), "lookuperror")]
)
async def test_what_goes_wrong_counts_and_goes_on_to_the_caller(
    server: CommandSide, error: Exception, name: str
) -> None:
    told = (await observed(server, create(), fails=error)).take()
    assert (told["commands"], told[name]) == (1, 1)
