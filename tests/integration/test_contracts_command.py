"""`twofold contracts`, on logs whose former contract knew more than today's."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.appends import append, new_event
from tests.protos import messages
from twofold_server.app import contracts
from twofold_server.cli import app
from twofold_server.database import open_database
from twofold_server.event_store import contract_check
from twofold_server.event_store.contract_check import every_second
from twofold_server.event_store.sql import SqlEventStore
from twofold_server.event_store.sql.contracts import ContractHistory
from twofold_server.messages.descriptors import describe_events

PACKAGE = "shop.orders.v1"
FORMER = messages(
    """
    message OrderCompleted {
      option (twofold.v1.event) = {revision: 1};
      string order_id = 1;
      string signed_by = 7;
    }
    """,
    package=PACKAGE,
)
RETIRED = messages(
    "message Opened { option (twofold.v1.event) = {revision: 1}; string id = 1; }", package="acme.doors.v1"
)
TOLD = "field 7 (signed_by) of shop.orders.v1.OrderCompleted was removed; 2 stored events carry it"


async def write_log(folder: Path) -> None:
    """A log of an earlier version."""
    async with open_database(f"sqlite+aiosqlite:///{folder}/events.db") as database:
        store, history = await SqlEventStore.open(database), ContractHistory(database)
        for signed_by in ("Ada", "Bob", ""):
            data = FORMER["OrderCompleted"](order_id="1", signed_by=signed_by).SerializeToString()
            await append(store, "order-1", events=[new_event(f"{PACKAGE}.OrderCompleted", data=data)])
        await history.accept(
            [
                describe_events(PACKAGE, FORMER.values()),
                describe_events("acme.doors.v1", RETIRED.values()),
            ]
        )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    asyncio.run(write_log(tmp_path))
    return tmp_path


def run(folder: Path, *command: str) -> Result:
    return CliRunner().invoke(app, ["contracts", *command, "--data-dir", str(folder)])


def test_each_break_is_a_line_and_the_exit_code_is_one(log: Path) -> None:
    found = run(log, "check")
    assert found.exit_code == 1
    doors, orders, told = found.stdout.splitlines()
    assert doors.startswith("acme.doors.v1: not loaded; its events are left alone, its contract is of 20")
    assert orders.startswith("shop.orders.v1: 1 break against the contract of 20")
    assert told == f"  {TOLD}"
    assert found.stderr == ""


def test_scripts_get_one_json_object(log: Path) -> None:
    found = run(log, "check", "--json")
    assert found.exit_code == 1
    told = json.loads(found.stdout)
    assert told["compatible"] is False
    assert {
        name: each["state"] for name, each in told["contracts"].items() if name in (PACKAGE, "acme.doors.v1")
    } == {
        PACKAGE: "BROKEN",
        "acme.doors.v1": "NOT_LOADED",
    }
    [broken] = told["contracts"][PACKAGE]["breaks"]
    assert (broken["kind"], broken["field"], broken["stored_events"]) == ("REMOVED_FIELD", "signed_by", 2)
    assert broken["text"] == TOLD


def test_a_loss_can_be_accepted_on_purpose(log: Path) -> None:
    accepted = run(log, "accept")
    assert accepted.exit_code == 0
    assert TOLD in accepted.stdout
    assert accepted.stdout.splitlines()[-1] == "accepted"
    after = run(log, "check")
    assert after.exit_code == 0
    assert "shop.orders.v1: unchanged since 20" in after.stdout


def test_checking_changes_nothing(log: Path) -> None:
    before = (log / "events.db").read_bytes()
    run(log, "check")
    run(log, "check", "--json")
    assert (log / "events.db").read_bytes() == before


def test_where_there_is_no_log_the_check_says_so(tmp_path: Path) -> None:
    found = run(tmp_path, "check")
    assert found.exit_code == 2
    assert found.stderr.startswith(f"twofold: there is no event log {tmp_path}/events.db; name it with ")
    assert list(tmp_path.iterdir()) == []


async def _empty_database(folder: Path) -> None:
    async with open_database(f"sqlite+aiosqlite:///{folder}/events.db"):
        pass


def test_a_log_without_a_history_is_told(tmp_path: Path) -> None:
    asyncio.run(_empty_database(tmp_path))
    found = run(tmp_path, "check")
    assert found.exit_code == 2
    assert "this event log keeps no contracts yet" in found.stderr


def test_a_long_search_tells_how_far_it_is(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_check, "REACH", 1)
    monkeypatch.setattr(contracts, "every_second", lambda tell: tell)
    found = run(log, "check")
    assert found.stderr.splitlines() == [f"looked through {n} of 3 events" for n in (1, 2, 3)]
    assert "looked through" not in found.stdout


def test_progress_is_told_once_a_second() -> None:
    now = 100.0
    told: list[int] = []
    progress = every_second(lambda position, _head: told.append(position), clock=lambda: now)
    for position in range(1, 11):
        now += 0.4
        progress(position, 10)
    assert told == [3, 6, 9]
