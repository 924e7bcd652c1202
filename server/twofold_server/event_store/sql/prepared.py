"""Statements compiled once: SQLAlchemy Core writes the SQL, the driver gets plain tuples.

Building, hashing and compiling a statement for each execution costs more than SQLite's own work on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, Table, bindparam
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.dml import Insert

CHUNKS = (64, 32, 16, 8, 4, 2, 1)
"""How many rows one statement inserts. sqlite3 gives up the interpreter lock at every statement and gets it
back only when the event loop lets go, so a statement a row would wait for the loop at each row."""


class Prepared:
    """One statement in the SQL of one dialect, with named parameters."""

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._text = compiled.string
        self._order: tuple[str, ...] = tuple(compiled.positiontup or ())
        self._constants: dict[str, Any] = compiled.construct_params(_check=False)

    def execute(self, connection: Connection, **parameters: Any) -> CursorResult[Any]:
        """Execute with named parameters."""
        return connection.exec_driver_sql(self._text, self._values(parameters))

    def fetch(self, connection: Connection, **parameters: Any) -> Sequence[Any]:
        """Execute with named parameters; the rows as tuples."""
        return _fetch(connection, self._text, self._values(parameters))

    def _values(self, parameters: dict[str, Any]) -> tuple[Any, ...]:
        values = self._constants | parameters
        return tuple(values[name] for name in self._order)


class PreparedInsert:
    """An INSERT of any number of whole rows."""

    def __init__(self, statement: Insert, dialect: Dialect) -> None:
        self._texts = {count: _insert_text(statement, dialect, count) for count in CHUNKS}

    def execute(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows, each a tuple in the order of the table's columns."""
        done = 0
        for count, text in self._texts.items():
            while len(rows) - done >= count:
                chunk = rows[done : done + count]
                _fetch(connection, text, tuple(chain.from_iterable(chunk)))
                done += count


def _fetch(connection: Connection, text: str, values: tuple[Any, ...]) -> Sequence[Any]:
    if connection.dialect.name == "sqlite":
        # Straight to the driver: SQLAlchemy's handling of a result costs more than SQLite's work on it.
        raw: Any = connection.connection.driver_connection
        return raw.execute(text, values).fetchall()  # type: ignore[no-any-return]
    result = connection.exec_driver_sql(text, values)
    return result.all() if result.returns_rows else ()


def _insert_text(statement: Insert, dialect: Dialect, count: int) -> str:
    table = statement.table
    assert isinstance(table, Table)
    names = table.columns.keys()
    rows = [
        {name: bindparam(f"{name}_{n}", type_=table.c[name].type) for name in names} for n in range(count)
    ]
    compiled: Any = statement.values(rows).compile(dialect=dialect)
    assert list(compiled.positiontup) == [f"{name}_{n}" for n in range(count) for name in names]
    return str(compiled.string)
