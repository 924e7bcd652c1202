"""SQLite through aiosqlite: one thread a connection, one hop to it a transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiosqlite
from sqlalchemy import Connection, StaticPool, create_engine
from sqlalchemy.exc import DBAPIError
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from twofold_server.database.translation import translated, unavailable
from twofold_server.database.trouble import Trouble

T = TypeVar("T")
BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's lock."""


WAL_PAGES = 16_000
"""The journal is written back when it has so many pages (64 MB), and its file hardly grows beyond that. With
SQLite's own 1,000 a busy log does so ten times a second, and one commit in ten takes three times as long."""


class _Thread(aiosqlite.Connection):
    """aiosqlite's connection, with SQLAlchemy's on top of it in the same thread.

    SQLAlchemy's own aiosqlite dialect hops to the thread for each statement. A transaction of seven
    statements then costs more in hops than in fsync, so here the whole of it is one hop.
    """

    _begin: str
    _sqlalchemy: Connection

    async def start(self, begin: str) -> None:
        """Connect; each transaction opens with the statement ``begin``."""
        self._thread.daemon = True
        try:
            await self
        except BaseException:
            self._thread.join()  # it is ending, and must not outlive the event loop
            raise
        self._begin = begin
        self._sqlalchemy = await self._execute(self._open)  # type: ignore[no-untyped-call]

    def _open(self) -> Connection:
        raw = self._conn
        engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, hide_parameters=True)
        return engine.connect()

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with _as_sqlalchemy_would(), self._sqlalchemy.begin():
            self._conn.execute(self._begin)  # SQLAlchemy takes sqlite3 to begin by itself, and only commits
            return work(self._sqlalchemy)

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run work in one transaction."""
        result: T = await self._execute(self._transact, work)  # type: ignore[no-untyped-call]
        return result

    async def close(self) -> None:
        """Close it, SQLAlchemy's part first: a finalizer that does it later is in another thread."""
        if self._connection is not None:
            await self._execute(self._let_go)  # type: ignore[no-untyped-call]
        await super().close()

    def _let_go(self) -> None:
        self._sqlalchemy.close()
        self._sqlalchemy.engine.dispose()


class SqliteDatabase:
    """A SQLite file: one connection that writes, a few that read beside it (WAL)."""

    def __init__(self, path: Path, *, synchronous: str, read_only: bool, readers: int) -> None:
        self._path = path
        self._synchronous = synchronous
        self._read_only = read_only
        self._writer: _Thread | None = None
        self._readers: list[_Thread] = []
        self._idle: asyncio.LifoQueue[_Thread] = asyncio.LifoQueue()
        self._reader_count = readers
        self._closed = False
        self._trouble = Trouble()

    async def open(self) -> None:
        """Connect; raises Unavailable."""
        try:
            with translated(), _as_sqlalchemy_would():
                await self._connect_all()
        except BaseException:
            await self.close()
            raise

    async def _connect_all(self) -> None:
        if not self._read_only:
            self._writer = await self._connect("BEGIN IMMEDIATE", writing=True)
        for _ in range(self._reader_count):
            reader = await self._connect("BEGIN", writing=False)
            self._readers.append(reader)
            self._idle.put_nowait(reader)

    async def write(self, work: Callable[[Connection], T], *, patient: bool = False) -> T:
        """See Database; nothing here has a limit on its time."""
        if self._writer is None:
            raise RuntimeError("this database was opened read-only")
        return await self._transact(self._writer, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        reader = await self._idle.get()
        try:
            return await self._transact(reader, work)
        finally:
            self._idle.put_nowait(reader)

    async def close(self) -> None:
        """See Database."""
        self._closed = True  # work that comes later would find a thread that is gone
        for thread in [*self._readers, *([self._writer] if self._writer else [])]:
            await thread.close()

    async def _transact(self, thread: _Thread, work: Callable[[Connection], T]) -> T:
        if self._closed:
            raise unavailable()
        with translated(), self._trouble.noticed():
            return await thread.transact(work)

    async def _connect(self, begin: str, *, writing: bool) -> _Thread:
        thread = _Thread(lambda: self._raw(writing), iter_chunk_size=64)
        await thread.start(begin)
        return thread

    def _raw(self, writing: bool) -> sqlite3.Connection:
        mode = "rwc" if writing else "ro"
        raw = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
        )
        try:
            self._set_up(raw, writing)
        except BaseException:
            raw.close()
            raise
        return raw

    def _set_up(self, raw: sqlite3.Connection, writing: bool) -> None:
        if writing:
            _use_wal(raw)
            raw.execute(f"PRAGMA synchronous={self._synchronous}")
            raw.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        raw.execute("PRAGMA foreign_keys=ON")
        # The journal of a statement of many rows is a temporary file otherwise, made anew each time.
        raw.execute("PRAGMA temp_store=MEMORY")
        raw.execute("PRAGMA cache_size=-20480")  # 20 MB; what else is hot the system keeps


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY


@retry(
    retry=retry_if_exception(_is_busy),
    stop=stop_after_delay(BUSY_TIMEOUT),
    wait=wait_random(0.005, 0.05),
    reraise=True,
)
def _use_wal(raw: sqlite3.Connection) -> None:
    # Of several that open a new file at once SQLite refuses all but one, without its usual wait.
    raw.execute("PRAGMA journal_mode=WAL")


class _as_sqlalchemy_would:  # noqa: N801 - reads as a phrase
    """Give a bare sqlite3 error the type that SQLAlchemy gives it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, sqlite3.Error):
            raise DBAPIError.instance(None, None, error, sqlite3.Error) from error
