"""Driver errors become Twofold's, here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from twofold_server.errors import Unavailable


@contextmanager
def translated() -> Iterator[None]:
    """Turn a database that is away, busy, full or read-only into Unavailable.

    An IntegrityError or a ProgrammingError is a mistake in the code, and goes through as it is.
    """
    try:
        yield
    except (IntegrityError, ProgrammingError):
        raise
    except (DBAPIError, PoolTimeout, OSError) as error:
        raise Unavailable(
            "the database is not available at the moment; retry shortly", reason="STORE_UNAVAILABLE"
        ) from error
