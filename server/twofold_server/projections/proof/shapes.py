"""What is compared of a table's rows, and how a row is taken apart and put together again."""

from __future__ import annotations

import io
import pickle
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import Column, inspect

Key = tuple[Any, ...]
"""The values of the primary key's columns."""
Values = tuple[Any, ...]
"""The values of a row, in the order of ``Shape.fields``."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A table as its ORM class declares it, without columns that the database fills by itself."""

    table: type[Any]
    """The ORM class."""
    name: str
    """The table's name, that of the live build."""
    fields: tuple[str, ...]
    """The attributes that hold columns."""
    columns: tuple[Column[Any], ...]
    """The columns, as many."""
    key_places: tuple[int, ...]
    """Where the primary key's columns stand among the fields."""

    @property
    def key_columns(self) -> list[Column[Any]]:
        """The columns of the primary key."""
        return [self.columns[place] for place in self.key_places]

    def key(self, values: Values) -> Key:
        """The primary key of a row."""
        return tuple(values[place] for place in self.key_places)

    def key_for_rows(self, key: Key) -> Hashable:
        """The key as ``Rows.get`` takes it: bare where it is one column."""
        return key[0] if len(key) == 1 else key

    def message_of(self, field: str) -> type[Message] | None:
        """The message that a column of bytes holds, where ``info={"message": …}`` of the column says so."""
        found: type[Message] | None = self.columns[self.fields.index(field)].info.get("message")
        return found

    def take_apart(self, row: object) -> Values:
        """The values of a row; what a handler left unset is what the column declares for that."""
        found = vars(row)
        return tuple(
            plain(found[field]) if field in found else _unset(column)
            for field, column in zip(self.fields, self.columns, strict=True)
        )

    def only_key(self, key: Key) -> Any:
        """A row of which nothing is known but its key."""
        row = inspect(self.table).class_manager.new_instance()
        vars(row).update(
            (self.fields[place], value) for place, value in zip(self.key_places, key, strict=True)
        )
        return row

    def put_together(self, values: Values) -> Any:
        """A row with these values, as if it had been read."""
        row = inspect(self.table).class_manager.new_instance()
        vars(row).update(zip(self.fields, values, strict=True))
        return row


def shape_of(table: type[Any]) -> Shape:
    """The shape of an ORM class."""
    known: Any = table
    return _shape(known)


@cache
def _shape(table: Any) -> Shape:
    mapper = inspect(table)
    pairs = [(each.key, each.columns[0]) for each in mapper.column_attrs if not _is_filled(each.columns[0])]
    columns = tuple(column for _, column in pairs)
    places = tuple(columns.index(column) for column in mapper.primary_key)
    return Shape(table, mapper.local_table.name, tuple(field for field, _ in pairs), columns, places)


def shapes_of(tables: Sequence[type[Any]]) -> dict[str, Shape]:
    """The shapes by the names of the tables."""
    return {shape_of(table).name: shape_of(table) for table in tables}


def plain(value: Any) -> Any:
    """The same value in the type that a database gives back, for instance an enum as its number."""
    for kind in (bool, int, str):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    return value


def packed(values: tuple[Any, ...]) -> bytes:
    """Values as bytes: the same values of the same types always give the same bytes."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5)
    pickler.fast = True  # else the bytes tell which values were one object
    pickler.dump(values)
    return buffer.getvalue()


def unpacked(content: bytes) -> tuple[Any, ...]:
    """Values out of the bytes that this process has made."""
    values: tuple[Any, ...] = pickle.loads(content)
    return values


def _is_filled(column: Any) -> bool:
    if column.primary_key:
        return False
    return column.computed is not None or column.server_default is not None


def _unset(column: Any) -> Any:
    default = column.default
    return plain(default.arg) if default is not None and default.is_scalar else None
