"""A log on PostgreSQL when connections are cut, servers freeze, stop, fill up, or do not answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, make_url
from sqlalchemy.util import await_only
from structlog.testing import capture_logs

from tests.appends import append, new_append, new_id, recorded
from tests.commit_pauses import CommitPauses
from tests.contract.postgres_logs import a_store, end_sessions, head_row_held, waits_for_a_lock
from tests.nats_server import free_port
from tests.postgres_server import PostgresServer, postgres_server
from tests.tcp_proxy import TcpProxy
from twofold_server.database import open_database
from twofold_server.database.postgres import PostgresDatabase
from twofold_server.database.postgres_connections import PostgresLimits
from twofold_server.errors import StartupError, Unavailable
from twofold_server.event_store.appending import Replay
from twofold_server.event_store.sql import SqlEventStore

pytestmark = pytest.mark.postgres


async def is_unavailable(call: Any) -> float:
    """The call fails as it must when a store is away; after how many seconds."""
    began = time.monotonic()
    with pytest.raises(Unavailable) as error:
        await call
    assert error.value.reason == "STORE_UNAVAILABLE"
    assert "sql" not in error.value.message.lower()
    return time.monotonic() - began


async def holds(store: SqlEventStore, events: int) -> None:
    """The log has so many events, without gaps, and takes the next."""
    assert [e.position for e in await store.read_events(0)] == list(range(1, events + 1))
    assert (await append(store, "order-next"))[0].position == events + 1


# --- connections ---------------------------------------------------------------------------------


async def test_connections_that_were_cut_while_idle_cost_no_call(
    url: str, operator: asyncpg.Connection
) -> None:
    async with a_store(url) as store:
        await asyncio.gather(append(store), *(store.head() for _ in range(10)))
        await end_sessions(operator)
        reading = asyncio.gather(*(store.head() for _ in range(10)))
        assert (await append(store))[0].position == 2
        await reading
        await end_sessions(operator)
        assert await store.head() == 2


async def test_a_connection_that_is_cut_in_the_middle_fails_its_own_calls_and_no_others(
    url: str, operator: asyncpg.Connection
) -> None:
    async with a_store(url) as store:
        await append(store)
        async with head_row_held(operator):
            under_way = asyncio.create_task(append(store))
            await waits_for_a_lock(operator)
            await end_sessions(operator)
            await is_unavailable(under_way)
            assert await store.head() == 1, "readers go on"
        await holds(store, 1)


async def test_a_network_that_is_cut_is_unavailable_until_it_is_back(far_url: str, proxy: TcpProxy) -> None:
    async with a_store(far_url) as store:
        await append(store)
        proxy.refusing = True
        proxy.cut()
        for _ in range(3):
            assert await is_unavailable(append(store)) < 2
            assert await is_unavailable(store.head()) < 2
        proxy.refusing = False
        await holds(store, 1)


async def test_a_network_that_swallows_everything_is_given_up_in_time(far_url: str, proxy: TcpProxy) -> None:
    async with a_store(far_url, transaction=2, connect=2) as store:
        await asyncio.gather(append(store), *(store.head() for _ in range(10)))
        proxy.pause()
        calls = [append(store), *(store.head() for _ in range(20))]
        waited = await asyncio.gather(*(is_unavailable(call) for call in calls))
        assert max(waited) < 12
        proxy.cut()
        proxy.resume()
        await holds(store, 1)


async def test_closing_does_not_wait_for_a_server_that_does_not_answer(far_url: str, proxy: TcpProxy) -> None:
    async with asyncio.timeout(20):
        async with a_store(far_url) as store:
            await asyncio.gather(append(store), *(store.head() for _ in range(4)))
            proxy.pause()


# --- locks ---------------------------------------------------------------------------------------


async def test_a_head_row_held_for_too_long_is_unavailable_until_it_is_free(
    url: str, operator: asyncpg.Connection
) -> None:
    async with a_store(url, lock=0.3) as store:
        async with head_row_held(operator):
            assert await is_unavailable(append(store)) >= 0.3
            assert await store.head() == 0, "readers go on"
        await holds(store, 0)


async def test_a_server_that_freezes_with_the_head_row_in_its_hands_does_not_stop_the_others(
    url: str,
) -> None:
    database = PostgresDatabase(make_url(url), limits=PostgresLimits(idle_in_transaction=0.5))
    async with a_store(url) as other:
        holding = asyncio.Event()

        def freeze(connection: Connection) -> None:
            connection.exec_driver_sql("SELECT * FROM log_head FOR UPDATE")
            connection.exec_driver_sql("UPDATE log_head SET position = 77")
            holding.set()
            await_only(asyncio.sleep(2))

        frozen = asyncio.create_task(database.write(freeze))
        await holding.wait()
        began = time.monotonic()
        assert (await append(other))[0].position == 1
        assert 0.2 < time.monotonic() - began < 2
        await is_unavailable(frozen)
        await holds(other, 1)
    await database.close()


async def test_a_server_that_freezes_within_a_statement_is_ended_by_who_waits_for_it(url: str) -> None:
    database = PostgresDatabase(make_url(url), limits=PostgresLimits(idle_in_transaction=0.2))
    async with a_store(url, lock=0.5, idle_in_transaction=0.2) as other:
        holding, thawed = asyncio.Event(), asyncio.Event()

        def freeze(connection: Connection) -> None:
            driver: Any = connection.connection.driver_connection
            connection.exec_driver_sql("UPDATE log_head SET position = 77")
            await_only(driver.prepare("SELECT 77"))  # parsed, and its values are never sent
            holding.set()
            await_only(thawed.wait())
            connection.exec_driver_sql("SELECT 77")

        frozen = asyncio.create_task(database.write(freeze))
        await holding.wait()
        await is_unavailable(append(other))
        await holds(other, 0)
        thawed.set()
        await is_unavailable(frozen)
    await database.close()


async def test_a_deadlock_is_unavailable_and_nothing_is_left_of_it(
    url: str, operator: asyncpg.Connection
) -> None:
    async with a_store(url) as store:
        await append(store)
        async with operator.transaction():
            await operator.execute("LOCK TABLE events")
            under_way = asyncio.create_task(append(store))
            await waits_for_a_lock(operator)
            # Each now waits for the other. Who has waited longer finds out, and gives up.
            await operator.execute("SELECT * FROM log_head FOR UPDATE")
            await is_unavailable(under_way)
        await holds(store, 1)


async def test_a_migration_may_wait_for_another_longer_than_any_command(
    url: str, operator: asyncpg.Connection
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with operator.transaction():
            await operator.execute("SELECT pg_advisory_xact_lock(727261)")
            opening = asyncio.create_task(stack.enter_async_context(a_store(url, lock=0.2)))
            await waits_for_a_lock(operator)
            await asyncio.sleep(0.5)
            assert not opening.done()
        assert await (await opening).head() == 0


async def test_only_patient_work_has_no_limits(url: str) -> None:
    database = PostgresDatabase(make_url(url), limits=PostgresLimits(lock=3, statement=4))

    def limits(connection: Connection) -> list[str]:
        names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
        return [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]

    try:
        assert await database.write(limits, patient=True) == ["0", "0", "3s"]
        assert await database.write(limits) == await database.read(limits) == ["3s", "4s", "3s"]
    finally:
        await database.close()


# --- servers -------------------------------------------------------------------------------------

ERRORS = {
    "serialization failure": "40001",
    "deadlock": "40P01",
    "disk full": "53100",
    "out of memory": "53200",
    "lock not available": "55P03",
    "query cancelled": "57014",
    "input or output error": "58030",
}


@pytest.mark.parametrize("state", ERRORS.values(), ids=ERRORS)
async def test_what_the_server_cannot_do_now_is_unavailable_and_half_of_it_is_not_done(
    url: str, operator: asyncpg.Connection, state: str
) -> None:
    async with a_store(url) as store:
        await append(store)
        await operator.execute(
            f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'for a test' USING ERRCODE = '{state}'; END $$; "
            "CREATE TRIGGER fail BEFORE INSERT ON responses EXECUTE FUNCTION fail()"
        )
        request = new_id()
        for _ in range(3):
            await is_unavailable(store.append([new_append(request_id=request), new_append("order-2")]))
        assert await store.head() == 1
        assert await store.stream_version("order-2") == 0
        assert await store.find_response(request) is None
        await operator.execute("DROP TRIGGER fail ON responses")
        [outcome] = await store.append([new_append(request_id=request)])
        assert recorded(outcome)[0].position == 2


async def test_a_server_that_only_reads_is_left_for_one_that_writes(
    url: str, operator: asyncpg.Connection
) -> None:
    """After a failover the former primary may still answer, and a pool must not cling to it."""
    name = make_url(url).database
    async with a_store(url) as store:
        await operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await end_sessions(operator)
        await is_unavailable(append(store))
        assert await store.head() == 0
        await operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await holds(store, 0)


async def test_a_server_that_restarts_in_the_middle_of_everything_is_a_pause() -> None:
    with postgres_server(started=False) as server:
        async with contextlib.AsyncExitStack() as stack:
            with server.running():
                stores = [await stack.enter_async_context(a_store(server.url("postgres"))) for _ in range(2)]
                writers = [
                    asyncio.create_task(keep_writing(s, f"order-{n}", 40)) for n, s in enumerate(stores)
                ]
                while await stores[0].head() < 10:
                    pass
            await is_unavailable(append(stores[0]))
            with server.running():
                assert await asyncio.gather(*writers) == [40, 40]
                events = await stores[0].read_events(0)
                assert [e.position for e in events] == list(range(1, 81))


async def keep_writing(store: SqlEventStore, stream: str, count: int) -> int:
    """Append events one after the other, each until it is there; the version of the stream."""
    for _ in range(count):
        request = new_id()
        while True:
            try:
                await store.append([new_append(stream, request_id=request)])
            except Unavailable:
                await asyncio.sleep(0.02)
            else:
                break
    return await store.stream_version(stream)


async def test_a_database_that_does_not_exist_is_unavailable(postgres: PostgresServer) -> None:
    async with open_database(postgres.url("nothing")) as database:
        await is_unavailable(SqlEventStore.open(database))


async def test_of_several_hosts_the_one_that_is_there_and_writes_is_used(url: str, proxy: TcpProxy) -> None:
    hosts = f"host=127.0.0.1:{free_port()}&host=127.0.0.1:{proxy.port}"
    name = make_url(url).database
    several = f"postgresql+asyncpg://postgres@/{name}?{hosts}&target_session_attrs=read-write"
    async with open_database(several) as database:
        await holds(await SqlEventStore.open(database), 0)


async def test_an_option_that_the_driver_does_not_have_is_told_at_once(url: str) -> None:
    with pytest.raises(StartupError, match=r"'sslmode'.*ssl=require"):
        async with open_database(f"{url}&sslmode=require"):
            pass


async def test_settings_that_take_back_a_promise_are_told_at_the_start(
    url: str, operator: asyncpg.Connection
) -> None:
    await operator.execute(f"ALTER DATABASE {make_url(url).database} SET synchronous_commit = off")
    with capture_logs() as lines:
        async with a_store(url):
            pass
    told = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert [event.partition(":")[0] for event in told] == [
        "PostgreSQL runs with synchronous_commit=off",
        "PostgreSQL runs with fsync=off",  # as the server of these tests does
        "PostgreSQL runs with full_page_writes=off",
    ]


# --- commits whose outcome is open ---------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same server", "another server"])
async def test_a_commit_whose_answer_is_lost_is_found_when_it_is_asked_for_again(
    url: str, far_url: str, proxy: TcpProxy, operator: asyncpg.Connection, elsewhere: bool
) -> None:
    async with a_store(far_url) as store, a_store(url) as other:
        await append(store)
        pauses = await CommitPauses.installed(operator)
        request = new_append("order-1", request_id=new_id(), request_hash=b"hash")
        async with pauses.nothing_commits():
            lost = asyncio.create_task(store.append([request]))
            await waits_for_a_lock(operator)
            proxy.answers.flows.clear()
        while await other.head() == 1:  # noqa: ASYNC110 - it is committed without a word to us
            await asyncio.sleep(0.01)
        proxy.cut()
        proxy.resume()
        await is_unavailable(lost)
        [again] = await (other if elsewhere else store).append([request])
        assert isinstance(again, Replay)
        assert (again.stored.request_hash, again.stored.response) == (b"hash", b"stored at 2")
        await holds(store, 2)


async def test_an_append_that_outlives_its_connection_is_seen_by_whoever_asks_next(
    url: str, far_url: str, proxy: TcpProxy, operator: asyncpg.Connection
) -> None:
    async with a_store(far_url) as store, a_store(url) as other:
        pauses = await CommitPauses.installed(operator)
        request = new_append("order-1", request_id=new_id())
        async with pauses.nothing_commits():
            lost = asyncio.create_task(store.append([request]))
            await waits_for_a_lock(operator)
            proxy.cut()
            await is_unavailable(lost)
            asked_again = asyncio.create_task(other.append([request, new_append("order-2")]))
            await waits_for_a_lock(operator, 2)
        first, second = await asked_again
        assert isinstance(first, Replay)
        assert recorded(second)[0].position == 2
        await holds(store, 2)
