"""Connections to PostgreSQL: what each session is told, and which are not used again.

A pool that asks each connection whether it still lives (a "pre-ping") pays a round trip for each transaction.
Here the driver is asked instead, which knows of every connection that was closed on this side or the other,
and a transaction that takes too long ends its connection, whatever became of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from twofold_server.errors import StartupError

_SERVER_IS_OF_NO_USE = ("25006", "57P01", "57P02", "57P03")
"""SQLSTATEs of a server that only reads (a former primary), shuts down, has crashed, is starting."""
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class PostgresLimits:
    """How long anything may take, in seconds. Each is a bound on how long one process can hold up others."""

    connect: float = 5
    """To connect."""
    idle_in_transaction: float = 3
    """Until PostgreSQL ends a session that holds a transaction open and does nothing: a command server that
    was frozen while it held the log's head row. One that was frozen within a statement is ended by who waits
    for its locks in vain."""
    lock: float = 6
    """To wait for a lock; longer than ``idle_in_transaction``, so that who waits outlasts who was frozen."""
    statement: float = 10
    """For one statement."""
    transaction: float = 15
    """For the whole transaction as seen from here, answers included: a network that swallows everything."""


_SESSION = {
    "application_name": "twofold",
    # Whoever has waited for the head row must then see what was committed meanwhile.
    "default_transaction_isolation": "read committed",
    "jit": "off",
    # A session whose machine vanished is gone after a minute, not after two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

NO_LIMITS = ("SET LOCAL statement_timeout = 0", "SET LOCAL lock_timeout = 0")
"""What a transaction that may take its time begins with."""


class PostgresConnections:
    """A pool that hands out no connection that is known to be dead."""

    def __init__(
        self, url: URL, *, count: int, limits: PostgresLimits, settings: dict[str, str], **how: Any
    ) -> None:
        """``settings`` are the session's, beside the usual ones; ``how`` is for SQLAlchemy's engine.

        Raises StartupError for an option that the driver does not have.
        """
        _check_options(url)
        self._engine = create_async_engine(
            url,
            hide_parameters=True,
            pool_size=count,
            max_overflow=0,
            pool_timeout=limits.transaction,  # by then whoever has a connection has given it back
            connect_args={
                "timeout": limits.connect,
                "server_settings": _SESSION | _limiting(limits) | settings,
            },
            **how,
        )
        self._patience = limits.transaction + 2 * limits.connect
        self._drivers: weakref.WeakSet[Any] = weakref.WeakSet()
        event.listen(self._engine.sync_engine, "connect", self._remember)
        event.listen(self._engine.sync_engine, "checkout", _refuse_the_dead)
        event.listen(self._engine.sync_engine, "handle_error", _notice_a_useless_server)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection for the length of a block; raises what translation knows."""
        connection = self._engine.connect()
        async with asyncio.timeout(self._patience):
            await connection.start()
        try:
            yield connection
        finally:
            await connection.close()

    async def close(self) -> None:
        """Say goodbye to the server, or just hang up where it does not answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._engine.dispose()
        for driver in list(self._drivers):
            driver.terminate()

    def _remember(self, connection: Any, record: Any) -> None:
        self._drivers.add(connection.driver_connection)


@contextmanager
def ended_after(connection: Connection, seconds: float) -> Iterator[None]:
    """End a connection that is still at it after some seconds; its statement then fails as if cut."""
    driver: Any = connection.connection.driver_connection
    timer = asyncio.get_running_loop().call_later(seconds, driver.terminate)
    try:
        yield
    finally:
        timer.cancel()


def _refuse_the_dead(connection: Any, record: Any, proxy: Any) -> None:
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _notice_a_useless_server(context: Any) -> None:
    if getattr(context.original_exception, "sqlstate", None) in _SERVER_IS_OF_NO_USE:
        context.is_disconnect = True


def _check_options(url: URL) -> None:
    known = inspect.signature(asyncpg.connect).parameters.keys() | {"prepared_statement_cache_size"}
    for name in url.query:
        if name not in known:
            hint = "; TLS is asked for with ssl=require" if name == "sslmode" else ""
            raise StartupError(f"the database URL has an option {name!r} that asyncpg does not know{hint}")


def _limiting(limits: PostgresLimits) -> dict[str, str]:
    """The session settings by which the server keeps to the limits by itself."""
    seconds = {
        "idle_in_transaction_session_timeout": limits.idle_in_transaction,
        "lock_timeout": limits.lock,
        "statement_timeout": limits.statement,
    }
    return {name: str(round(value * 1000)) for name, value in seconds.items()}
