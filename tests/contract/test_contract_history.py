"""The contract that a log was written under: kept beside the events, and held against today's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message
from sqlalchemy import Connection

from tests.appends import new_append, new_event
from tests.contract.event_stores import execute
from tests.protos import context_of, messages
from twofold_server.database import Database, open_database
from twofold_server.errors import StartupError
from twofold_server.event_store import contract_check
from twofold_server.event_store.contract_check import Findings, check_contracts, require_readable
from twofold_server.event_store.sql import SqlEventStore, contracts
from twofold_server.event_store.sql.contracts import ContractHistory
from twofold_server.messages.contract import ContextContract
from twofold_server.messages.descriptors import EventDescriptors
from twofold_server.modelling import Upcaster

T = TypeVar("T")
EVENT = "option (twofold.v1.event) = {revision: 1};"
BODY = f"""
message Placed {{ {EVENT} string id = 1; string place = 2; Line line = 3; }}
message Paid {{ {EVENT} string id = 1; }}
message Line {{ string product = 1; int32 quantity = 2; }}
"""
V1 = messages(BODY)
NONE: Callable[[int, int], None] = lambda _position, _head: None  # noqa: E731


def today(*edits: tuple[str, str], package: str = "toy.v1") -> ContextContract:
    """The contract after some edits of its text."""
    body = BODY
    for old, new in edits:
        assert old in body
        body = body.replace(old, new)
    return context_of(list(messages(body, package=package).values()), package=package)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        yield database


@pytest.fixture
async def store(database: Database) -> SqlEventStore:
    return await SqlEventStore.open(database)


@pytest.fixture
def history(database: Database, store: SqlEventStore) -> ContractHistory:
    return ContractHistory(database)


async def write(store: SqlEventStore, *found: Message, revision: int = 1) -> None:
    events = [new_event(e.DESCRIPTOR.full_name, data=e.SerializeToString(), revision=revision) for e in found]
    await store.append([new_append(f"toy-{time.monotonic_ns()}", events=events)])


async def start(history: ContractHistory, *contexts: ContextContract) -> None:
    """What a command server does with its contract at start."""
    await require_readable(contexts, history, progress=NONE)


def kept(package: str, content: bytes, *, context: str = "toy.v1") -> EventDescriptors:
    return EventDescriptors(package, content, context)


def told(findings: Findings) -> list[str]:
    return [str(each) for each in findings.breaks]


# --- the table -----------------------------------------------------------------------------------


async def test_a_log_that_no_server_has_opened_has_no_history(database_url: str) -> None:
    async with open_database(database_url) as database:
        assert not await ContractHistory(database).is_kept()
        await SqlEventStore.open(database)
        assert await ContractHistory(database).is_kept()


async def test_a_log_of_before_gets_its_history_and_keeps_its_events(
    database: Database, store: SqlEventStore
) -> None:
    await write(store, V1["Paid"](id="1"))
    await execute(database, "DROP TABLE accepted_contracts")
    await execute(database, "UPDATE log_schema SET version_num = '0001'")
    assert not await ContractHistory(database).is_kept()
    again = await SqlEventStore.open(database)
    assert await ContractHistory(database).accepted() == {}
    assert (again.log_id, await again.head()) == (store.log_id, 1)


async def test_nothing_is_accepted_in_a_new_log(history: ContractHistory) -> None:
    assert await history.accepted() == {}
    assert await history.descriptors(["toy.v1"]) == {}


async def test_what_is_accepted_comes_back_as_it_was(history: ContractHistory) -> None:
    one, other = kept("toy.v1", b"\x00\xff one"), kept("toy.v2", b"", context="toy.v1")
    before = time.time_ns() // 1000
    await history.accept([one, other])
    after = time.time_ns() // 1000
    accepted = await history.accepted()
    assert {name: each.hash for name, each in accepted.items()} == {"toy.v1": one.hash, "toy.v2": other.hash}
    assert all(before <= each.accepted_at <= after for each in accepted.values())
    assert {name: each.context for name, each in accepted.items()} == {"toy.v1": "toy.v1", "toy.v2": "toy.v1"}
    assert await history.descriptors(["toy.v1", "nothing.v1"]) == {"toy.v1": one}


async def test_the_newest_takes_the_place_of_the_one_before(history: ContractHistory) -> None:
    await history.accept([kept("toy.v1", b"one"), kept("toy.v2", b"stays")])
    newest = kept("toy.v1", b"two")
    await history.accept([newest])
    assert (await history.accepted())["toy.v1"].hash == newest.hash
    assert (await history.descriptors(["toy.v2"]))["toy.v2"].content == b"stays"


async def test_what_is_forgotten_is_gone(history: ContractHistory) -> None:
    await history.accept([kept("toy.v1", b"one"), kept("toy.v2", b"two"), kept("toy.v3", b"three")])
    await history.accept([], forget=["toy.v1", "toy.v3"])
    assert (await history.accepted()).keys() == {"toy.v2"}


async def test_servers_that_start_together_do_not_fail(database_url: str, history: ContractHistory) -> None:
    async with open_database(database_url) as other:
        await asyncio.gather(
            *(start(each, today()) for _ in range(5) for each in (history, ContractHistory(other)))
        )
    assert (await history.accepted()).keys() == {"toy.v1"}


# --- at start ------------------------------------------------------------------------------------


class Counted:
    """A database whose transactions are counted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.reads = self.writes = 0

    async def read(self, work: Callable[[Connection], T]) -> T:
        self.reads += 1
        return await self._database.read(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        self.writes += 1
        return await self._database.write(work)


async def test_an_unchanged_contract_costs_one_read(history: ContractHistory, database: Database) -> None:
    await start(history, today())
    counted: Any = Counted(database)
    await start(ContractHistory(counted), today())
    assert (counted.reads, counted.writes) == (1, 0)


async def test_what_is_added_is_accepted_and_held_to_from_then_on(
    history: ContractHistory, store: SqlEventStore
) -> None:
    await start(history, today())
    added = today(("string id = 1;", "string id = 1; string added = 9;"))
    await start(history, added)
    event: Any = added.events["toy.v1.Placed"].message
    await write(store, event(added="now"))
    with pytest.raises(
        StartupError, match=r"field 9 \(added\) of toy\.v1\.Placed was removed; 1 stored event c"
    ):
        await start(history, today())


async def test_what_stored_events_suffer_from_is_refused_in_one_line(
    history: ContractHistory, store: SqlEventStore
) -> None:
    await start(history, today())
    accepted = await history.accepted()
    await write(store, V1["Placed"](place="Bath"), V1["Placed"](place="York"), V1["Paid"](id="1"))
    broken = today(("string place = 2;", ""), ("message Paid { " + EVENT, "message Paid {"))
    with pytest.raises(StartupError) as caught:
        await start(history, broken)
    assert str(caught.value) == (
        "the contract breaks stored events: event toy.v1.Paid was removed, and no upcaster leads away from "
        "it; 1 stored event has this type (and 1 more like this); run `twofold contracts check`"
    )
    assert await history.accepted() == accepted
    assert told(await check_contracts([broken], history)) == [
        "event toy.v1.Paid was removed, and no upcaster leads away from it; 1 stored event has this type",
        "field 2 (place) of toy.v1.Placed was removed; 2 stored events carry it",
    ]


async def test_what_no_stored_event_carries_may_be_removed(
    history: ContractHistory, store: SqlEventStore
) -> None:
    await start(history, today())
    await write(store, V1["Placed"](id="1"), V1["Placed"](line=V1["Line"](quantity=1)))
    smaller = today(
        ("string place = 2;", ""), ("string product = 1;", ""), ("message Paid { " + EVENT, "message Paid {")
    )
    await start(history, smaller)
    assert (await check_contracts([smaller], history)).fresh == []


# --- counting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reach", "at_a_time"), [(20_000, 500), (7, 3), (1, 1), (1000, 2)])
async def test_every_stored_event_is_counted_once(
    history: ContractHistory,
    store: SqlEventStore,
    monkeypatch: pytest.MonkeyPatch,
    reach: int,
    at_a_time: int,
) -> None:
    monkeypatch.setattr(contract_check, "REACH", reach)
    monkeypatch.setattr(contracts, "AT_A_TIME", at_a_time)
    await start(history, today())
    for n in range(40):
        line = V1["Line"](product="tea") if n % 3 else None
        await write(store, V1["Placed"](id="1", line=line), V1["Paid"](id="1"))
    await store.append([new_append(events=[new_event("toy.v1.Placed", data=b"\xff not an event")])])
    await store.append([new_append(events=[new_event("toy.v1.Unheard")])])
    seen: list[tuple[int, int]] = []
    findings = await check_contracts(
        [today(("string product = 1;", ""))], history, progress=lambda *place: seen.append(place)
    )
    assert told(findings) == [
        "field 1 (line.product) of toy.v1.Placed was removed; 26 stored events carry it"
    ]
    assert seen[-1] == (82, 82)
    assert seen == sorted(set(seen))


async def test_large_numbers_are_readable(history: ContractHistory, store: SqlEventStore) -> None:
    await start(history, today())
    await write(store, *[V1["Placed"](place="Bath")] * 1204)
    [found] = told(await check_contracts([today(("string place", "int64 place"))], history))
    assert found == (
        "field 2 (place) of toy.v1.Placed changed from string to int64; 1,204 stored events carry it"
    )


async def test_a_revision_that_went_back_counts_later_events(
    history: ContractHistory, store: SqlEventStore
) -> None:
    await start(
        history,
        today(
            (
                "message Paid { option (twofold.v1.event) = {revision: 1}",
                "message Paid { option (twofold.v1.event) = {revision: 3}",
            )
        ),
    )
    await write(store, V1["Paid"](), V1["Paid"](), revision=2)
    await write(store, V1["Paid"](), revision=1)
    assert told(await check_contracts([today()], history)) == [
        "event toy.v1.Paid went back from revision 3 to 1; 2 stored events have a later revision"
    ]


# --- renamed types and packages ------------------------------------------------------------------


async def test_a_type_that_an_upcaster_leads_away_from_is_not_gone(
    history: ContractHistory, store: SqlEventStore
) -> None:
    await start(history, today())
    await write(store, V1["Paid"](id="1"))
    types = messages(BODY + f"message Settled {{ {EVENT} string id = 1; }}")
    settled = Upcaster(
        event=types["Paid"], revision=1, upcast=lambda _: types["Settled"](), into=types["Settled"]
    )
    await start(history, context_of(list(types.values()), settled))
    gone = messages(BODY.replace("message Paid", "message Settled"))
    assert told(await check_contracts([context_of(list(gone.values()))], history)) == [
        "event toy.v1.Paid was removed, and no upcaster leads away from it; 1 stored event has this type"
    ]


async def test_a_renamed_package_is_refused_until_upcasters_lead_to_it(
    history: ContractHistory, store: SqlEventStore
) -> None:
    await start(history, today())
    await write(store, V1["Placed"](id="1"), V1["Placed"](place="Bath"))
    renamed = today(package="toy.v2")
    with pytest.raises(
        StartupError, match=r"toy\.v1\.Placed was renamed to toy\.v2\.Placed with its package"
    ):
        await start(history, renamed)
    v2 = {name.rpartition(".")[2]: event.message for name, event in renamed.events.items()}
    ways = [
        Upcaster(event=V1["Placed"], revision=1, upcast=lambda _: v2["Placed"](), into=v2["Placed"]),
        Upcaster(event=V1["Paid"], revision=1, upcast=lambda _: v2["Paid"](), into=v2["Paid"]),
    ]
    await start(history, context_of(list(v2.values()), *ways, package="toy.v2"))
    assert (await history.accepted()).keys() == {"toy.v1", "toy.v2"}
    # From now on the former package is held to as well.
    smaller = messages(BODY.replace("string place = 2;", ""))
    ways[0] = Upcaster(
        event=smaller["Placed"], revision=1, upcast=lambda _: v2["Placed"](), into=v2["Placed"]
    )
    assert told(await check_contracts([context_of(list(v2.values()), *ways, package="toy.v2")], history)) == [
        "field 2 (place) of toy.v1.Placed was removed; 1 stored event carries it"
    ]


async def test_upcasters_from_a_former_package_cannot_just_go(
    history: ContractHistory, store: SqlEventStore
) -> None:
    renamed = today(package="toy.v2")
    v2 = {name.rpartition(".")[2]: event.message for name, event in renamed.events.items()}
    ways = [
        Upcaster(event=V1["Placed"], revision=1, upcast=lambda _: v2["Placed"](), into=v2["Placed"]),
        Upcaster(event=V1["Paid"], revision=1, upcast=lambda _: v2["Paid"](), into=v2["Paid"]),
    ]
    await start(history, context_of(list(v2.values()), *ways, package="toy.v2"))
    await write(store, V1["Placed"](id="1"))
    with pytest.raises(
        StartupError, match=r"event toy\.v1\.Placed was removed, .*; 1 stored event has this type"
    ):
        await start(history, renamed)
    await start(history, context_of(list(v2.values()), ways[0], package="toy.v2"))  # nothing was Paid
    findings = await check_contracts([renamed], history)
    assert len(findings.breaks) == 1
    await contract_check.accept(findings, history)
    await start(history, renamed)
    assert (await history.accepted()).keys() == {"toy.v2"}


async def test_a_context_that_is_not_loaded_is_left_alone(
    history: ContractHistory, store: SqlEventStore
) -> None:
    await start(history, today())
    await write(store, V1["Placed"](id="1"))
    other = messages(f"message Opened {{ {EVENT} string id = 1; }}", package="other.v1")
    await start(history, context_of(list(other.values()), package="other.v1"))
    assert (await history.accepted()).keys() == {"toy.v1", "other.v1"}
    with pytest.raises(StartupError, match=r"field 1 \(id\) of toy\.v1\.Placed was removed"):
        await start(history, today(("string id = 1;", "")))
