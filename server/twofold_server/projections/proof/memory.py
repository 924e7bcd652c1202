"""Rows in memory: handlers can be replayed anywhere, without a database."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, TypeVar

from twofold_server.projections.proof.shapes import Key, Shape, Values, shape_of

R = TypeVar("R")


class MemoryRows:
    """Rows (see modelling) in a dictionary by class and key."""

    def __init__(self) -> None:
        self._rows: dict[tuple[type[Any], Hashable], Any] = {}

    def get(self, table: type[R], key: Hashable) -> R | None:
        """See Rows."""
        row: R | None = self._rows.get((table, key))
        return row

    def add(self, row: object) -> None:
        """See Rows; raises ValueError where there is a row with this key."""
        place = place_of(row)
        if self._rows.get(place) is not None:
            raise ValueError(f"a row {place[1]!r} is in table {shape_of(type(row)).name} already")
        self._rows[place] = row

    def delete(self, row: object) -> None:
        """See Rows."""
        self._rows.pop(place_of(row), None)

    def touch(self, table: type[Any], key: Hashable) -> None:
        """See Rows; nothing is cached of these."""

    def all(self, shape: Shape) -> Iterator[Values]:
        """The rows of a table, taken apart."""
        for (table, _), row in self._rows.items():
            if table is shape.table:
                yield shape.take_apart(row)

    def values(self, shape: Shape, key: Key) -> Values | None:
        """One row taken apart; None where there is none."""
        row = self._rows.get((shape.table, shape.key_for_rows(key)))
        return None if row is None else shape.take_apart(row)


def place_of(row: object) -> tuple[type[Any], Hashable]:
    """The class and the key of a row."""
    shape = shape_of(type(row))
    return shape.table, shape.key_for_rows(shape.key(shape.take_apart(row)))
