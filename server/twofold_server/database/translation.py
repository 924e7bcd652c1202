"""Driver errors become Twofold's, here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from twofold_server.errors import Unavailable

_DATA_EXCEPTION = "22"
"""The class of SQLSTATEs for a value that does not fit; asyncpg has no DataError."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn a database that is away, busy, full or read-only into Unavailable.

    What a retry would meet again (a constraint, a value that does not fit, wrong SQL) is a mistake in the
    code, and goes through as it is.
    """
    try:
        yield
    except DBAPIError as error:
        if _is_a_mistake(error):
            raise
        raise unavailable() from error
    except (PoolTimeout, OSError) as error:
        raise unavailable() from error


def unavailable() -> Unavailable:
    """What a caller is told when the database is away."""
    return Unavailable(
        "the database is not available at the moment; retry shortly", reason="STORE_UNAVAILABLE"
    )


def _is_a_mistake(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or ""
    return isinstance(error, IntegrityError | ProgrammingError | DataError) or state[:2] == _DATA_EXCEPTION
