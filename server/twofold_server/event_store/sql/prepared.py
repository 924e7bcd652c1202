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
        values = self._constants | parameters
        return connection.exec_driver_sql(self._text, tuple(values[name] for name in self._order))


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
                connection.exec_driver_sql(text, tuple(chain.from_iterable(chunk)))
                done += count


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
