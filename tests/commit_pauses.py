"""Pauses between the last statement of an append and its commit, put into the database from outside.

A deferred trigger on the head row runs when COMMIT has been asked for and before it is done: the moment when
nobody but PostgreSQL knows what will become of the transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

_LOCK = 4711
_INSTALL = f"""
CREATE SCHEMA pauses;
CREATE TABLE pauses.at_random (chance float8, seconds float8);
INSERT INTO pauses.at_random VALUES (0, 0);
CREATE FUNCTION pauses.pause() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wanted pauses.at_random;
BEGIN
    PERFORM pg_advisory_xact_lock_shared({_LOCK});
    SELECT * INTO wanted FROM pauses.at_random;
    IF random() < wanted.chance THEN
        PERFORM pg_sleep(random() * wanted.seconds);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER pause AFTER UPDATE ON log_head DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION pauses.pause();
"""


class CommitPauses:
    """The pauses of one database, over a session beside the servers'."""

    def __init__(self, operator: asyncpg.Connection) -> None:
        self._operator = operator

    @classmethod
    async def installed(cls, operator: asyncpg.Connection) -> CommitPauses:
        """Make pauses possible; the log's tables must be there."""
        await operator.execute(_INSTALL)
        return cls(operator)

    @asynccontextmanager
    async def nothing_commits(self) -> AsyncIterator[None]:
        """Appends come as far as their commit, and wait there until the block ends."""
        await self._operator.execute("SELECT pg_advisory_lock($1)", _LOCK)
        try:
            yield
        finally:
            await self._operator.execute("SELECT pg_advisory_unlock($1)", _LOCK)

    async def at_random(self, chance: float, seconds: float) -> None:
        """From now on, pause before this part of all commits for up to so many seconds."""
        await self._operator.execute("UPDATE pauses.at_random SET chance = $1, seconds = $2", chance, seconds)
