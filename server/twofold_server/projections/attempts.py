"""Attempts that are counted before they are made, so that one that kills the process counts too.

A build has one row: the event that comes next, and how often it was tried alone. Nothing is written while
batches succeed; the row is then one of an event that was applied long ago.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    String,
    Table,
    Text,
    and_,
    delete,
    insert,
    select,
)

from twofold_server.projections.checkpoints import metadata
from twofold_server.projections.letters import ERROR_LENGTH, Scope

attempts_table = Table(
    "projection_attempts",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("build", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
)
"""The event that a projector began with or tries alone."""


class Attempts(NamedTuple):
    """How often an event was tried alone; an empty error is one that nobody lived to tell."""

    position: int
    attempts: int
    error: str


def begin(connection: Connection, scope: Scope, following: int) -> Attempts | None:
    """Note that a projector begins with an event.

    Returns its attempts where another one has begun with it before and did not get on: it may have died of
    that event, or of one soon after it.
    """
    columns = [attempts_table.c[name] for name in Attempts._fields]
    row = connection.execute(select(*columns).where(_of(scope))).first()
    if row is not None and row.position == following:
        return Attempts(*row)
    count(connection, scope, Attempts(following, 0, ""))
    return None


def count(connection: Connection, scope: Scope, attempts: Attempts) -> None:
    """Replace what is noted of a build."""
    forget_attempts(connection, scope)
    values = scope._asdict() | attempts._asdict() | {"error": attempts.error[:ERROR_LENGTH]}
    connection.execute(insert(attempts_table), [values])


def forget_attempts(connection: Connection, scope: Scope) -> None:
    """Note that nothing is under way."""
    connection.execute(delete(attempts_table).where(_of(scope)))


def _of(scope: Scope) -> ColumnElement[bool]:
    return and_(attempts_table.c.projection == scope.projection, attempts_table.c.build == scope.build)
