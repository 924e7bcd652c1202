"""Whose turn it is: of several processes on one PostgreSQL, one works and the others stand by.

A turn is an advisory lock of a session, so it ends with the process, however that ends. PostgreSQL also ends
the session of a process that is frozen or cut off, as it then says nothing any more. A turn only spares work
that would be fenced out: nothing relies on it, as a process may lose it without noticing.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from twofold_server.database.postgres_connections import PostgresConnections, PostgresLimits
from twofold_server.database.translation import in_one_line, is_away

LOOK_SECONDS = 0.5
"""How often a process that stands by asks whether it is its turn."""
SILENT_SECONDS = 10.0
"""After which time without a word PostgreSQL ends the session of a process, and so its turns."""
_ASK_SECONDS = 10.0
_TRY = text("SELECT pg_try_advisory_lock(:key)").bindparams(bindparam("key"))
_RELEASE = text("SELECT pg_advisory_unlock(:key)").bindparams(bindparam("key"))
_SPEAK = text("SELECT 1")


class Turns(Protocol):
    """Who works on what."""

    @property
    def trouble(self) -> str:
        """Why it cannot be found out whose turn it is; empty where it can."""

    def turn(self, name: str) -> AbstractAsyncContextManager[None]:
        """Wait for the turn to work on something, and have it for the length of the block."""


class NobodyElse:
    """Turns where there is no other process, as another lock sees to."""

    trouble = ""

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """See Turns; there is no wait."""
        yield


class PostgresTurns:
    """Turns on one database, all held by one session."""

    def __init__(
        self, url: str, *, look_seconds: float = LOOK_SECONDS, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        self._sessions = PostgresConnections(
            make_url(url),
            count=1,
            limits=PostgresLimits(),
            settings={"idle_session_timeout": str(round(silent_seconds * 1000))},
            isolation_level="AUTOCOMMIT",
        )
        self._look = look_seconds
        self._speak_seconds = silent_seconds / 4
        self._session: AsyncConnection | None = None
        self._stack = AsyncExitStack()
        self._one_at_a_time = asyncio.Lock()
        self.trouble = ""

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """See Turns."""
        key = _key(name)
        await self._wait(key)
        speaking = asyncio.create_task(self._speak())
        try:
            yield
        finally:
            await self._release(key, speaking)

    async def close(self) -> None:
        """Let go of everything."""
        await self._hang_up()
        await self._sessions.close()

    async def _wait(self, key: int) -> None:
        while True:
            if await self._try(key):
                return
            await asyncio.sleep(self._look * random.uniform(0.8, 1.2))

    async def _try(self, key: int) -> bool:
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    session = await self._connected()
                    found = bool(await session.scalar(_TRY, {"key": key}))
            except BaseException as error:
                await self._hang_up()  # it may have got the lock all the same
                if not isinstance(error, Exception) or not (
                    is_away(error) or isinstance(error, TimeoutError)
                ):
                    raise
                self.trouble = in_one_line(error)
                return False
            self.trouble = ""
            return found

    async def _release(self, key: int, speaking: asyncio.Task[None]) -> None:
        async with self._one_at_a_time:
            speaking.cancel()  # only here, where it is not in the midst of a statement
            await self._tell(_RELEASE, {"key": key})

    async def _speak(self) -> None:
        """Say now and then that this process is neither frozen nor cut off."""
        while True:
            await asyncio.sleep(self._speak_seconds)
            async with self._one_at_a_time:
                await self._tell(_SPEAK)

    async def _tell(self, statement: TextClause, values: dict[str, int] | None = None) -> None:
        if self._session is None:
            return
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                await self._session.scalar(statement, values)
        except Exception:
            await self._hang_up()

    async def _connected(self) -> AsyncConnection:
        if self._session is None:
            self._session = await self._stack.enter_async_context(self._sessions.connected())
        return self._session

    async def _hang_up(self) -> None:
        """End the session: given back to the pool, it would keep its locks."""
        session, self._session = self._session, None
        if session is not None:
            await session.invalidate()
        await self._stack.aclose()


def _key(name: str) -> int:
    digest = hashlib.blake2b(f"twofold projection {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@asynccontextmanager
async def open_turns(url: str) -> AsyncIterator[Turns]:
    """Turns for those who write the database of a URL."""
    if url.startswith("sqlite"):
        yield NobodyElse()
        return
    turns = PostgresTurns(url)
    try:
        yield turns
    finally:
        await turns.close()
