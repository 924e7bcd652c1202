"""What the log's database itself guarantees, whoever writes into it, and what happens when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from tests.appends import append, new_append, new_event, new_id
from tests.contract.event_stores import execute, sql_log, sqlite_url
from tests.postgres_server import postgres_server
from twofold_server.database import Database, open_database
from twofold_server.errors import StartupError, Unavailable
from twofold_server.event_store.filters import EventFilter
from twofold_server.event_store.snapshots import Snapshot
from twofold_server.event_store.sql import SqlEventStore


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        yield database


@pytest.fixture
async def store(database: Database) -> SqlEventStore:
    return await SqlEventStore.open(database)


# --- append-only ---------------------------------------------------------------------------------

ROW = "'order-9', {version}, 'id', 'type', 1, '', '', '', '', '', 0"
CHANGES = [
    "UPDATE events SET data = '' WHERE position = 1",
    "UPDATE events SET position = 7 WHERE position = 1",
    "DELETE FROM events WHERE position = 2",
    "DELETE FROM events",
    f"INSERT INTO events VALUES (1, {ROW.format(version=9)})",
    f"INSERT INTO events VALUES (3, {ROW.format(version=1)})",
]
SQLITE_CHANGES = [
    f"INSERT OR REPLACE INTO events VALUES (1, {ROW.format(version=9)})",
    f"INSERT OR REPLACE INTO events VALUES (3, {ROW.format(version=1)})",
    f"REPLACE INTO events VALUES (2, {ROW.format(version=1)})",
    "UPDATE OR REPLACE events SET position = 1 WHERE position = 2",
    f"INSERT INTO events VALUES (1, {ROW.format(version=9)}) ON CONFLICT DO UPDATE SET data = ''",
]
POSTGRES_CHANGES = [
    "TRUNCATE events",
    "TRUNCATE events, streams CASCADE",
    f"INSERT INTO events VALUES (1, {ROW.format(version=9)}) ON CONFLICT (position) DO UPDATE SET data = ''",
    "MERGE INTO events USING log_head ON events.position = 1 WHEN MATCHED THEN DELETE",
]


async def is_refused(store: SqlEventStore, database: Database, change: str) -> None:
    await append(store, "order-9", events=2)
    before = await store.read_events(0)
    with pytest.raises(IntegrityError):
        await execute(database, change)
    assert await store.read_events(0) == before
    assert (await append(store, "order-9"))[0].position == 3


@pytest.mark.parametrize("change", CHANGES)
async def test_the_database_refuses_to_change_an_event(
    store: SqlEventStore, database: Database, change: str
) -> None:
    await is_refused(store, database, change)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("change", SQLITE_CHANGES)
async def test_sqlite_refuses_to_replace_an_event(
    store: SqlEventStore, database: Database, change: str
) -> None:
    await is_refused(store, database, change)


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("change", POSTGRES_CHANGES)
async def test_postgres_refuses_to_empty_the_table_or_to_upsert(
    store: SqlEventStore, database: Database, change: str
) -> None:
    await is_refused(store, database, change)


# --- speed ---------------------------------------------------------------------------------------


@pytest.mark.postgres
async def test_postgres_finds_streams_by_index_although_the_table_was_empty_at_first(
    url: str, operator: asyncpg.Connection
) -> None:
    async with sql_log(url)() as store:
        for _ in range(30):
            await store.append([new_append(f"order-{new_id()}", request_id=new_id()) for _ in range(100)])
    scanned = "SELECT idx_scan, seq_tup_read FROM pg_stat_user_tables WHERE relname = $1"
    for table in ("streams", "responses"):
        while not (counted := await operator.fetchrow(scanned, table))["idx_scan"]:
            await operator.execute("SELECT pg_sleep(0.05)")  # it is counted when the session has ended
        assert counted["seq_tup_read"] < 3000, table


# --- schema --------------------------------------------------------------------------------------


async def test_a_log_of_a_newer_schema_is_refused_in_one_line(
    store: SqlEventStore, database: Database
) -> None:
    await execute(database, "UPDATE log_schema SET version_num = '9999'")
    with pytest.raises(StartupError, match="schema 9999, unknown to this version") as refusal:
        await SqlEventStore.open(database)
    assert "\n" not in str(refusal.value)


async def test_a_log_is_opened_whatever_characters_its_folder_has(tmp_path: Path) -> None:
    folder = tmp_path / "100% of #1? & größer"
    folder.mkdir()
    async with open_database(f"sqlite+aiosqlite:///{str(folder).replace('?', '%3F')}/events.db") as database:
        await SqlEventStore.open(database)
    assert (folder / "events.db").exists()


# --- failures ------------------------------------------------------------------------------------


async def recovers(store: SqlEventStore) -> None:
    """Broken connections are noticed one by one; each costs at most one call."""
    for _ in range(20):
        with contextlib.suppress(Unavailable):
            await append(store, "order-2", events=0)
            await store.head()
            return
    raise AssertionError("the store does not come back")


async def calls_fail(store: SqlEventStore) -> None:
    for call in (
        store.append([new_append(request_id=new_id())]),
        store.read_stream("order-1"),
        store.stream_version("order-1"),
        store.read_events(0),
        store.head(),
        store.find_response(new_id()),
        store.load_stream("order-1", state_revision=1),
        store.write_snapshots([Snapshot("order-1", 1, 1, b"")]),
        store.search_events(0, EventFilter(), to_position=1),
        store.prune_responses(1),
    ):
        with pytest.raises(Unavailable) as error:
            await call
        assert error.value.reason == "STORE_UNAVAILABLE"
        assert "sql" not in error.value.message.lower()


async def test_a_closed_database_is_unavailable(store: SqlEventStore, database: Database) -> None:
    await database.close()
    await calls_fail(store)


async def test_a_failed_batch_writes_nothing_and_the_next_one_works(
    store: SqlEventStore, database: Database
) -> None:
    await append(store)
    event = new_event(event_id="x" * 36)
    await execute(database, f"INSERT INTO events VALUES (2, {ROW.format(version=1)})")
    with pytest.raises(IntegrityError):
        await store.append([new_append("order-1", events=[event], request_id=new_id())])
    assert await store.stream_version("order-1") == 1
    await execute(database, "UPDATE log_head SET position = 2")
    assert (await append(store, "order-1"))[0].position == 3


async def test_close_waits_for_the_work_under_way(database_url: str) -> None:
    async with open_database(database_url) as database:
        store = await SqlEventStore.open(database)
        tasks = [asyncio.create_task(append(store, f"order-{n}")) for n in range(5)]
        await asyncio.sleep(0)
    assert [len(events) for events in await asyncio.gather(*tasks)] == [1] * 5
    async with sql_log(database_url)() as again:
        assert await again.head() == 5


async def test_work_is_finished_although_its_caller_is_cancelled(database_url: str) -> None:
    async with open_database(database_url) as database:
        store = await SqlEventStore.open(database)
        task = asyncio.create_task(append(store, events=2))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with sql_log(database_url)() as again:
        assert await again.head() == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_full_disk_is_unavailable_until_there_is_room_again(
    store: SqlEventStore, database: Database
) -> None:
    await append(store)
    await execute(database, "PRAGMA max_page_count = 1")  # as many pages as it has
    with pytest.raises(Unavailable):
        await append(store, events=[new_event(data=b"x" * 100_000)])
    assert await store.head() == 1
    await execute(database, "PRAGMA max_page_count = 1000000")
    assert (await append(store))[0].position == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_file_locked_for_too_long_is_unavailable_until_it_is_free(
    store: SqlEventStore, database: Database, tmp_path: Path
) -> None:
    await execute(database, "PRAGMA busy_timeout = 1")
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await append(store)
        assert await store.head() == 0, "readers go on"
    assert (await append(store))[0].position == 1


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "events.db").write_bytes(content)
    with pytest.raises(Unavailable):
        async with sql_log(sqlite_url(tmp_path))():
            pass


@pytest.mark.postgres
async def test_a_server_that_is_away_is_unavailable_until_it_is_back() -> None:
    with postgres_server(started=False) as server:
        async with open_database(server.url("postgres")) as database:
            with pytest.raises(Unavailable):
                await SqlEventStore.open(database)
            with server.running():
                store = await SqlEventStore.open(database)
                await append(store)
            await calls_fail(store)
            with server.running():
                await recovers(store)
                assert (await append(store))[0].position == 2


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_value_that_does_not_fit_is_a_mistake_and_no_reason_to_retry(store: SqlEventStore) -> None:
    with pytest.raises(DBAPIError, match="too long"):
        await append(store, "order-" + "x" * 600)
    assert (await append(store))[0].position == 1
