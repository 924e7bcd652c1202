"""Logs on PostgreSQL, and what an operator can do to them from a session beside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import make_url

from twofold_server.database.postgres import PostgresDatabase
from twofold_server.database.postgres_connections import PostgresLimits
from twofold_server.event_store.sql import SqlEventStore


@asynccontextmanager
async def a_store(url: str, **limits: float) -> AsyncIterator[SqlEventStore]:
    """A store with connections of its own; limits are in seconds."""
    database = PostgresDatabase(make_url(url), limits=PostgresLimits(**limits))
    try:
        yield await SqlEventStore.open(database)
    finally:
        await database.close()


async def waits_for_a_lock(operator: asyncpg.Connection, count: int = 1) -> None:
    """Wait until so many sessions of the database wait for a lock."""
    here = "FROM pg_stat_activity WHERE datname = current_database()"
    while await operator.fetchval(f"SELECT count(*) {here} AND wait_event_type = 'Lock'") < count:
        await operator.execute("SELECT pg_stat_clear_snapshot(), pg_sleep(0.01)")


@asynccontextmanager
async def head_row_held(operator: asyncpg.Connection) -> AsyncIterator[None]:
    """Nothing is appended in the block: somebody else has the lock."""
    async with operator.transaction():
        await operator.execute("SELECT * FROM log_head FOR UPDATE")
        yield


async def end_sessions(operator: asyncpg.Connection) -> None:
    """End every session of the database but this one, and wait until they are gone."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    await operator.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}")
    await asyncio.sleep(0)  # so that this event loop has read that they are closed
