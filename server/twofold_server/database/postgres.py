"""PostgreSQL through asyncpg."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from twofold_server.database.translation import translated
from twofold_server.database.under_way import WorkUnderWay

T = TypeVar("T")


class PostgresDatabase:
    """A PostgreSQL database; work runs in a greenlet, so that each statement awaits the socket."""

    def __init__(self, url: str, *, read_only: bool, readers: int) -> None:
        self._writer = create_async_engine(url, pool_size=2, pool_pre_ping=False)
        self._reader = create_async_engine(
            url,
            pool_size=readers,
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
        )
        self._read_only = read_only
        self._under_way = WorkUnderWay()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        if self._read_only:
            raise RuntimeError("this database was opened read-only")
        return await self._under_way.run(self._write(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        return await self._under_way.run(self._read(work))

    async def close(self) -> None:
        """See Database."""
        await self._under_way.close()
        await self._writer.dispose()
        await self._reader.dispose()

    async def _write(self, work: Callable[[Connection], T]) -> T:
        with translated():
            async with self._writer.begin() as connection:
                return await connection.run_sync(work)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        with translated():
            async with self._reader.connect() as connection:
                return await connection.run_sync(work)
