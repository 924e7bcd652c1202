"""Events that an operator has left out of a build: who did it, when and why."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, Text, delete, insert, select

from twofold_server.projections.checkpoints import metadata
from twofold_server.projections.letters import DeadLetter, Scope

skips = Table(
    "projection_skips",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("build", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("stream_name", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("skipped_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("skipped_at", BigInteger, nullable=False),
)
"""One row for each event that is left out for ever, as far as this build goes."""


@dataclass(frozen=True, slots=True)
class Skip:
    """An event that was left out."""

    position: int
    """The event's position."""
    stream_name: str
    """The stream that it belongs to."""
    error: str
    """What the last attempt had said."""
    skipped_by: str
    """Who decided it."""
    reason: str
    """Why."""
    skipped_at: int
    """When, in microseconds since 1970 UTC."""


def note_skip(connection: Connection, scope: Scope, letter: DeadLetter, *, who: str, why: str) -> None:
    """Record that a letter's event is left out."""
    row = {
        **scope._asdict(),
        "position": letter.position,
        "stream_name": letter.stream_name,
        "error": letter.error,
        "skipped_by": who,
        "reason": why,
        "skipped_at": time.time_ns() // 1000,
    }
    connection.execute(insert(skips), [row])


def skipped(connection: Connection, scope: Scope) -> list[Skip]:
    """What was left out of a build, in order of position."""
    columns = [skips.c[name] for name in Skip.__slots__]
    mine = (skips.c.projection == scope.projection) & (skips.c.build == scope.build)
    found = connection.execute(select(*columns).where(mine).order_by(skips.c.position))
    return [Skip(**row) for row in found.mappings()]


def forget_skips(connection: Connection, scope: Scope) -> None:
    """Forget those of a build that is dropped."""
    connection.execute(
        delete(skips).where(skips.c.projection == scope.projection, skips.c.build == scope.build)
    )
