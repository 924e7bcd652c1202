"""PostgreSQL through asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from twofold_server.database.postgres_connections import (
    NO_LIMITS,
    PostgresConnections,
    PostgresLimits,
    ended_after,
)
from twofold_server.database.silent_sessions import end_silent_sessions, waited_in_vain
from twofold_server.database.translation import translated
from twofold_server.database.trouble import Trouble
from twofold_server.database.under_way import WorkUnderWay

T = TypeVar("T")
WRITERS = 2
"""Connections that write: one appends, the other does what can wait."""
_BY_INDEX = {"enable_seqscan": "off"}
"""What is written is found by its key. PostgreSQL keeps the plan that it made for a statement while the table
was empty, which is to read all of it, until the table is analyzed: a minute later at best. A log that got
36,000 streams in that time was appended to at a seventh of the rate."""


class PostgresDatabase:
    """A PostgreSQL database; work runs in a greenlet, so that each statement awaits the socket."""

    def __init__(
        self,
        url: URL,
        *,
        read_only: bool = False,
        readers: int = 2,
        synchronous: bool = True,
        limits: PostgresLimits | None = None,
    ) -> None:
        """``synchronous`` leaves to the server when a commit is durable; without it, that is later."""
        self._limits = limits or PostgresLimits()
        self._writers = PostgresConnections(
            url,
            count=WRITERS,
            limits=self._limits,
            settings=_BY_INDEX if synchronous else _BY_INDEX | {"synchronous_commit": "off"},
        )
        self._readers = PostgresConnections(
            url,
            count=readers,
            limits=self._limits,
            settings={},
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
        )
        self._read_only = read_only
        self._trouble = Trouble()
        self._under_way = WorkUnderWay()

    async def write(self, work: Callable[[Connection], T], *, patient: bool = False) -> T:
        """See Database."""
        if self._read_only:
            raise RuntimeError("this database was opened read-only")
        return await self._under_way.run(self._transact(self._writers, work, patient=patient))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        return await self._under_way.run(self._transact(self._readers, work, patient=False))

    async def close(self) -> None:
        """See Database."""
        await self._under_way.close()
        await asyncio.gather(self._writers.close(), self._readers.close())

    async def _transact(
        self, pool: PostgresConnections, work: Callable[[Connection], T], *, patient: bool
    ) -> T:
        with translated(), self._trouble.noticed():
            async with pool.connected() as connection:
                try:
                    return await connection.run_sync(self._patiently if patient else self._in_time, work)
                except DBAPIError as error:
                    if waited_in_vain(error):
                        await connection.run_sync(end_silent_sessions, self._limits.idle_in_transaction)
                    raise

    def _in_time(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        with ended_after(connection, self._limits.transaction), connection.begin():
            return work(connection)

    def _patiently(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        with connection.begin():
            for setting in NO_LIMITS:
                connection.exec_driver_sql(setting)
            return work(connection)
