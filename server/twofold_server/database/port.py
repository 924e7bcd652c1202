"""The port: run a function in a transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


class Database(Protocol):
    """One database. Work is synchronous SQLAlchemy Core or ORM code, and the same for every backend:
    where it runs (a thread, a greenlet) is the backend's business.

    Both methods raise Unavailable when the database is away, busy for too long, full or read-only. When
    the caller is cancelled, the work is finished all the same.
    """

    async def write(self, work: Callable[[Connection], T], *, patient: bool = False) -> T:
        """Run work in a writing transaction and commit it; rolled back where the work raises.

        ``patient`` work may take its time, and wait as long for locks: a migration.
        """

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run work in a reading transaction: one snapshot."""

    async def close(self) -> None:
        """Close all connections, after the work under way."""
