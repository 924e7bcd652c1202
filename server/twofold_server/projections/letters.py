"""Dead letters: which events a build does not hold, as pointers into the log, never as copies.

The first letter of a key (a stream) is the event that failed; the later ones wait behind it, in order.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.sql.sets import is_in
from twofold_server.projections.checkpoints import metadata

ERROR_LENGTH = 2000
"""Characters of an error that are kept."""

letters = Table(
    "projection_dead_letters",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("build", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("stream_name", Text, nullable=False),
    Column("stream_version", BigInteger, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("parked_at", BigInteger, nullable=False),
    Index("dead_letters_of_stream", "projection", "build", "stream_name", "position"),
)
"""One row for each event that is not in the rows of a build; those that only wait have no attempts."""


class Scope(NamedTuple):
    """Whose letters: each build of a projection has its own."""

    projection: str
    build: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A parked key, by the event that it waits for."""

    position: int
    """The position of the event that failed."""
    stream_name: str
    """The key: the stream whose events wait."""
    stream_version: int
    """The event's place in the stream."""
    event_type: str
    """The name that the event is stored under."""
    attempts: int
    """How often it was tried."""
    error: str
    """What the last attempt said."""
    parked_at: int
    """When it was parked, in microseconds since 1970 UTC."""
    waiting: int
    """How many later events of the key wait behind it."""


class Pointer(NamedTuple):
    """One event of a parked key."""

    position: int
    stream_version: int


def parked_keys(connection: Connection, scope: Scope) -> int:
    """How many keys have letters."""
    count = select(func.count(letters.c.stream_name.distinct())).where(of(scope))
    return int(connection.execute(count).scalar_one())


def parked_among(connection: Connection, scope: Scope, streams: Collection[str]) -> set[str]:
    """Which of these keys have letters."""
    wanted = select(letters.c.stream_name).where(of(scope), is_in(connection, letters.c.stream_name, streams))
    return set(connection.scalars(wanted.distinct()))


def park(connection: Connection, scope: Scope, event: RecordedEvent, *, attempts: int, error: str) -> None:
    """Note an event that failed, the first of its key."""
    connection.execute(insert(letters), [_row(scope, event, attempts, error)])


def set_aside(connection: Connection, scope: Scope, events: Iterable[RecordedEvent]) -> None:
    """Note later events of parked keys."""
    connection.execute(insert(letters), [_row(scope, event, 0, "") for event in events])


def dead_letters(connection: Connection, scope: Scope) -> list[DeadLetter]:
    """The parked keys, the longest parked position first."""
    first = (
        select(func.min(letters.c.position).label("first"), (func.count() - 1).label("waiting"))
        .where(of(scope))
        .group_by(letters.c.stream_name)
        .subquery()
    )
    columns = [letters.c[name] for name in DeadLetter.__slots__ if name != "waiting"]
    found = select(*columns, first.c.waiting).join(first, letters.c.position == first.c.first)
    rows = connection.execute(found.where(of(scope)).order_by(letters.c.position))
    return [DeadLetter(**row) for row in rows.mappings()]


def pointers(connection: Connection, scope: Scope, stream_name: str, limit: int) -> list[Pointer]:
    """The first events of a key that wait, in order."""
    found = select(letters.c.position, letters.c.stream_version).where(of(scope, stream_name))
    return [Pointer(*row) for row in connection.execute(found.order_by(letters.c.position).limit(limit))]


def waiting(connection: Connection, scope: Scope, stream_name: str = "") -> int:
    """How many events of a build, or of one of its keys, are not in its rows."""
    mine = of(scope, stream_name or None)
    return int(connection.execute(select(func.count()).select_from(letters).where(mine)).scalar_one())


def failed_again(connection: Connection, scope: Scope, position: int, *, attempts: int, error: str) -> None:
    """Note what another attempt at a letter said."""
    values = {"attempts": attempts, "error": error[:ERROR_LENGTH]}
    connection.execute(update(letters).where(of(scope), letters.c.position == position).values(values))


def remove(connection: Connection, scope: Scope, stream_name: str, through: int) -> None:
    """Take away a key's letters up to and with a position."""
    connection.execute(delete(letters).where(of(scope, stream_name), letters.c.position <= through))


def remove_all(connection: Connection, scope: Scope) -> None:
    """Forget the letters of a build that is dropped."""
    connection.execute(delete(letters).where(of(scope)))


def of(scope: Scope, stream_name: str | None = None) -> ColumnElement[bool]:
    """The letters of a build, or of one of its keys."""
    mine = and_(letters.c.projection == scope.projection, letters.c.build == scope.build)
    return mine if stream_name is None else and_(mine, letters.c.stream_name == stream_name)


def _row(scope: Scope, event: RecordedEvent, attempts: int, error: str) -> dict[str, object]:
    return {
        "projection": scope.projection,
        "build": scope.build,
        "position": event.position,
        "stream_name": event.stream_name,
        "stream_version": event.stream_version,
        "event_type": event.type_name,
        "attempts": attempts,
        "error": error[:ERROR_LENGTH],
        "parked_at": time.time_ns() // 1000,
    }
