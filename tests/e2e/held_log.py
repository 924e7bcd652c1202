"""Holding the event log, so that nothing can be committed for a while."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.e2e.systems import System


@contextmanager
def nothing_commits(system: System) -> Iterator[None]:
    """Commands arrive and are decided, but wait for their commit until the block ends (10 s at most)."""
    with closing(sqlite3.connect(system.event_database, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout=5000")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
