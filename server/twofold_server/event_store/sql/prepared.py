"""Statements compiled once: SQLAlchemy Core writes the SQL, the driver gets plain tuples.

Building, hashing and compiling a statement for each execution costs more than SQLite's own work on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, String, Table, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.dml import Insert

SIZES = (1, 4, 16, 64, 256)
"""How many rows one statement inserts on SQLite; the rows that a statement has too many are left empty."""


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
    """An INSERT of any number of whole rows, in one statement.

    One, since each costs a round trip on PostgreSQL; on SQLite the driver gives up the interpreter lock at
    each, and gets it back only when the event loop lets go.
    """

    def __init__(self, statement: Insert, dialect: Dialect) -> None:
        self._as_arrays = dialect.name != "sqlite"
        if self._as_arrays:
            self._texts = {0: _insert_of_arrays(statement, dialect)}
        else:
            self._texts = {size: _insert_of_rows(statement, dialect, size) for size in SIZES}

    def execute(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows, each a tuple in the order of the table's columns."""
        if not rows:
            return
        if self._as_arrays:
            connection.exec_driver_sql(
                self._texts[0], tuple(list(column) for column in zip(*rows, strict=True))
            )
            return
        for chunk in _chunks(rows, SIZES[-1]):
            size = next(size for size in SIZES if size >= len(chunk))
            empty = (None,) * (len(chunk[0]) * (size - len(chunk)))
            _fetch(connection, self._texts[size], (*chain.from_iterable(chunk), *empty))


def _fetch(connection: Connection, text: str, values: tuple[Any, ...]) -> Sequence[Any]:
    if connection.dialect.name == "sqlite":
        # Straight to the driver: SQLAlchemy's handling of a result costs more than SQLite's work on it.
        raw: Any = connection.connection.driver_connection
        return raw.execute(text, values).fetchall()  # type: ignore[no-any-return]
    result = connection.exec_driver_sql(text, values)
    return result.all() if result.returns_rows else ()


def _insert_of_arrays(statement: Insert, dialect: Dialect) -> str:
    columns = _table(statement).columns
    # As text without a length: a cast to varchar(n) would cut what is too long, where an insert refuses it.
    types = [Text() if isinstance(c.type, String) else c.type for c in columns]
    arrays = [bindparam(f"{c.name}_array", type_=ARRAY(t)) for c, t in zip(columns, types, strict=True)]
    rows = func.unnest(*arrays).table_valued(*(c.name for c in columns), name="given").render_derived()
    return str(statement.from_select(columns.keys(), select(rows)).compile(dialect=dialect))


def _insert_of_rows(statement: Insert, dialect: Dialect, size: int) -> str:
    columns = _table(statement).columns
    row = f"({', '.join('?' * len(columns))})"
    before, values, after = str(statement.compile(dialect=dialect)).partition(f"VALUES {row}")
    assert values, before
    return f"{before}SELECT * FROM (VALUES {', '.join([row] * size)}) WHERE column1 IS NOT NULL{after}"


def _table(statement: Insert) -> Table:
    assert isinstance(statement.table, Table)
    return statement.table


def _chunks(rows: Sequence[tuple[Any, ...]], size: int) -> Iterator[Sequence[tuple[Any, ...]]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
