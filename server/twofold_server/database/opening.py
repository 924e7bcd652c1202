"""From a database URL to a database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from twofold_server.database.port import Database
from twofold_server.database.postgres import PostgresDatabase
from twofold_server.database.sqlite import SqliteDatabase
from twofold_server.errors import StartupError

_POSTGRES_READERS = 4
"""Connections to PostgreSQL for one to SQLite: they wait for the network, where SQLite's do the work."""


@asynccontextmanager
async def open_database(
    url: str, *, synchronous: str = "FULL", read_only: bool = False, readers: int = 2
) -> AsyncIterator[Database]:
    """Open the database of a SQLAlchemy URL.

    ``synchronous`` is SQLite's word: FULL syncs each commit to disk (the log; on PostgreSQL, what the server
    is set to), NORMAL may lose the last ones on a power cut (what can be rebuilt). ``readers`` is the number
    of reading connections. Raises StartupError for a URL that cannot be right, Unavailable where the file
    cannot be opened; PostgreSQL is first connected to by the first transaction.
    """
    database = await _open(url, synchronous=synchronous, read_only=read_only, readers=readers)
    try:
        yield database
    finally:
        await database.close()


async def _open(url: str, *, synchronous: str, read_only: bool, readers: int) -> Database:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StartupError(f"{url!r} is not a database URL") from None
    match parsed.drivername:
        case "sqlite+aiosqlite":
            path = Path(parsed.database or "")
            database = SqliteDatabase(path, synchronous=synchronous, read_only=read_only, readers=readers)
            await database.open()
            return database
        case "postgresql+asyncpg":
            durable = synchronous == "FULL"
            return PostgresDatabase(
                parsed, read_only=read_only, readers=readers * _POSTGRES_READERS, synchronous=durable
            )
        case other:
            raise StartupError(f"{other} is not supported; use sqlite+aiosqlite:/// or postgresql+asyncpg://")
