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
    except Exception as error:
        if is_away(error):
            raise unavailable() from error
        raise


def unavailable() -> Unavailable:
    """What a caller is told when the database is away."""
    return Unavailable(
        "the database is not available at the moment; retry shortly", reason="STORE_UNAVAILABLE"
    )


def is_away(error: Exception) -> bool:
    """Whether an error says that the database cannot do its work now, and might later."""
    if isinstance(error, DBAPIError):
        return not _is_a_mistake(error)
    return isinstance(error, PoolTimeout | OSError)


def in_one_line(error: BaseException) -> str:
    """What went wrong, as the driver says it: no statement, no parameters, no second line."""
    root = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(root.__cause__ or root).strip().splitlines()
    return lines[0] if lines else type(root).__name__


def _is_a_mistake(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or ""
    return isinstance(error, IntegrityError | ProgrammingError | DataError) or state[:2] == _DATA_EXCEPTION
