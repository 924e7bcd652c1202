"""The event stores that are held to the contract: each a way to open one log, any number of times."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import asyncpg

from tests.postgres_server import PostgresServer
from twofold_server.database import Database, open_database
from twofold_server.event_store.memory import MemoryEventStore
from twofold_server.event_store.sql import SqlEventStore
from twofold_server.event_store.store import EventStore

Log = Callable[[], AbstractAsyncContextManager[EventStore]]
"""Opens a log; each time with connections of its own."""


def memory_log() -> Log:
    """A log in memory."""
    store = MemoryEventStore()

    @asynccontextmanager
    async def open_log() -> AsyncIterator[EventStore]:
        yield store

    return open_log


def sql_log(url: str) -> Log:
    """A log in a database."""

    @asynccontextmanager
    async def open_log() -> AsyncIterator[EventStore]:
        async with open_database(url) as database:
            yield await SqlEventStore.open(database)

    return open_log


def sqlite_url(folder: Path) -> str:
    """A file for a database."""
    return f"sqlite+aiosqlite:///{folder}/events.db"


@asynccontextmanager
async def postgres_url(server: PostgresServer) -> AsyncIterator[str]:
    """An empty database, gone at the end."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        await connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        yield server.url(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


async def execute(database: Database, statement: str) -> None:
    """Execute a statement as it stands, and commit."""

    def work(connection: object) -> None:
        connection.exec_driver_sql(statement)  # type: ignore[attr-defined]

    await database.write(work)
