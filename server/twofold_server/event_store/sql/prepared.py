"""Statements compiled once: SQLAlchemy Core writes the SQL, the driver gets plain tuples.

Building, hashing and compiling a statement for each execution costs more than SQLite's own work on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect
from sqlalchemy.sql import ClauseElement


class Prepared:
    """One statement in the SQL of one dialect, with named parameters."""

    def __init__(
        self, statement: ClauseElement, dialect: Dialect, columns: Sequence[str] | None = None
    ) -> None:
        """``columns`` are the columns that an INSERT or UPDATE sets from parameters."""
        compiled: Any = statement.compile(dialect=dialect, column_keys=columns)
        self._text = compiled.string
        self._order: tuple[str, ...] = tuple(compiled.positiontup or ())
        self._constants: dict[str, Any] = compiled.construct_params(_check=False)

    def one(self, connection: Connection, **parameters: Any) -> CursorResult[Any]:
        """Execute once, with named parameters."""
        values = self._constants | parameters
        return connection.exec_driver_sql(self._text, tuple(values[name] for name in self._order))

    def many(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute for many rows, each a tuple in the order of ``columns``."""
        connection.exec_driver_sql(self._text, list(rows))
