"""Backends for the contract suites. A PostgreSQL is started once a worker, when the first test needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from tests.contract.event_stores import Log, memory_log, postgres_url, sql_log, sqlite_url
from tests.postgres_server import PostgresServer, postgres_server
from tests.tcp_proxy import TcpProxy, proxy_to_socket
from twofold_server.event_store.store import EventStore

POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", POSTGRES])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
    else:
        async with postgres_url(request.getfixturevalue("postgres")) as url:
            yield url


@pytest.fixture(params=["memory", "sqlite", POSTGRES])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    """An empty log of each kind."""
    match request.param:
        case "memory":
            yield memory_log()
        case "sqlite":
            yield sql_log(sqlite_url(tmp_path))
        case _:
            async with postgres_url(request.getfixturevalue("postgres")) as url:
                yield sql_log(url)


@pytest.fixture
async def store(log: Log) -> AsyncIterator[EventStore]:
    """An event store of each kind, on an empty log."""
    async with log() as store:
        yield store


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    """An empty database on PostgreSQL."""
    async with postgres_url(postgres) as found:
        yield found


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[TcpProxy]:
    """A network before PostgreSQL."""
    async with proxy_to_socket(postgres.socket) as found:
        yield found


@pytest.fixture
def far_url(url: str, proxy: TcpProxy, postgres: PostgresServer) -> str:
    """The same database as behind ``url``, through the proxy."""
    return postgres.url_by_port(make_url(url).database or "", proxy.port)


@pytest.fixture
async def operator(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session beside the stores in the same database."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()
