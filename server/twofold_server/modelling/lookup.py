"""Rows by their keys, as fast as a database gives them."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Any

from sqlalchemy import Connection, Dialect, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute


class Lookup:
    """Columns of the rows with certain keys, by one statement that is compiled once.

    It goes straight to the driver: SQLAlchemy's work on a statement and its result is a multiple of SQLite's
    on the rows. So the columns must be of types that drivers know by themselves: numbers, text, bytes.
    """

    def __init__(self, key: InstrumentedAttribute[Any], *columns: InstrumentedAttribute[Any]) -> None:
        """``columns`` are what is wanted of each row, by ``key``."""
        self._key = key
        self._columns = columns
        self._texts: dict[tuple[str, int], str] = {}

    def __call__(self, connection: Connection, keys: Collection[Hashable]) -> dict[Any, tuple[Any, ...]]:
        """The columns of each row that exists, by its key."""
        if not keys:
            return {}
        wanted = list(keys)
        if connection.dialect.name == "sqlite":
            # As many as a power of two: each number of values is a statement of its own to prepare.
            size = 1 << (len(wanted) - 1).bit_length()
            wanted += wanted[-1:] * (size - len(wanted))
            raw: Any = connection.connection.driver_connection
            rows = raw.execute(self._text(connection.dialect, size), wanted).fetchall()
        else:
            text = self._text(connection.dialect, 0)
            rows = connection.exec_driver_sql(text, (wanted,)).fetchall()
        return {key: tuple(columns) for key, *columns in rows}

    def _text(self, dialect: Dialect, size: int) -> str:
        # By name: the dialect itself would keep its engine and connections alive.
        text = self._texts.get((dialect.name, size))
        if text is None:
            text = self._texts[dialect.name, size] = self._compiled(dialect, size)
        return text

    def _compiled(self, dialect: Dialect, size: int) -> str:
        statement = select(self._key, *self._columns)
        if size:
            keys: list[Any] = [bindparam(f"key_{number}") for number in range(size)]
            statement = statement.where(self._key.in_(keys))
        else:
            statement = statement.where(self._key == bindparam("keys", type_=ARRAY(self._key.type)).any_())
        return str(statement.compile(dialect=dialect))
