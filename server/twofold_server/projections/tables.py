"""The tables of one build of a projection, made and dropped.

The build that queries read has the plain names of its tables; any other has them with the suffix ``__<n>``.
Names of indexes and constraints are unique in a database and cannot be changed in SQLite, so they keep the
suffix of their build for ever, also while it is live.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Constraint, Index, MetaData, Table, inspect

from twofold_server.modelling import Projection

FIRST = 1
"""The number of the first build, which is made in place and needs no suffix."""


def beside(name: str, build: int) -> str:
    """What something is called in a build that is not live."""
    return f"{name}__{build}"


def table_names(projection: Projection) -> list[str]:
    """The plain names of all tables, those that ``prepare`` makes included."""
    own = [table.__table__.name for table in projection.tables]
    return list(dict.fromkeys([*own, *projection.side_tables]))


def tables_beside(projection: Projection, build: int) -> Mapping[type[Any], Table]:
    """The tables of a build that is not live, by their classes."""
    return {table: _copy(table.__table__, build) for table in projection.tables}


def make_first(connection: Connection, projection: Projection) -> None:
    """Make the tables of the first build, as far as they are missing."""
    fresh = not any(map(inspect(connection).has_table, table_names(projection)))
    for table in _declared(projection):
        table.__table__.create(connection, checkfirst=True)
    if fresh and projection.prepare is not None:
        projection.prepare(connection, str)


def make_beside(connection: Connection, projection: Projection, build: int) -> None:
    """Make the tables of another build, empty."""
    for table in _declared(projection):
        _copy(table.__table__, build).create(connection)
    if projection.prepare is not None:
        projection.prepare(connection, lambda name: beside(name, build))


def rename(connection: Connection, names: Sequence[str], *, build: int, live: bool) -> None:
    """Give the tables of a build their plain names, or take them away."""
    for name in names:
        old, new = (beside(name, build), name) if live else (name, beside(name, build))
        quoted = connection.dialect.identifier_preparer.quote
        connection.exec_driver_sql(f"ALTER TABLE {quoted(old)} RENAME TO {quoted(new)}")


def drop_beside(connection: Connection, names: Sequence[str], build: int) -> None:
    """Delete the tables of a build that is not live."""
    for name in names:
        quoted = connection.dialect.identifier_preparer.quote(beside(name, build))
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quoted}")


def _declared(projection: Projection) -> list[Any]:
    return [table for table in projection.tables if table.__table__.name not in projection.side_tables]


@cache
def _copy(table: Table, build: int) -> Table:
    copied = table.to_metadata(MetaData(), name=beside(table.name, build))
    named: Iterable[Index | Constraint] = (*copied.indexes, *copied.constraints)
    for each in named:
        if isinstance(each.name, str):
            each.name = beside(each.name, build)
    return copied
