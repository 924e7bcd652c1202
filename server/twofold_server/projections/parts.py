"""The parts of a build that several workers fill: each folds some partitions of the streams.

A part has a checkpoint of its own, fenced by the epoch of the build. A build with parts is not complete.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from twofold_server.event_store.filters import PARTITIONS
from twofold_server.projections.checkpoints import Checkpoint, TakenOver, advance, metadata

parts = Table(
    "projection_build_parts",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("build", Integer, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("partitions", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("target", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
)
"""One row for each part; ``partitions`` are numbers, as JSON."""


class NotComplete(Exception):
    """Workers have not finished their parts."""


@dataclass(frozen=True, slots=True)
class Part:
    """How far a worker is."""

    projection: str
    """The projection's name."""
    build: int
    """The number of the build."""
    part: int
    """The number of the part, from 0 on."""
    partitions: Sequence[int]
    """The partitions of the streams that it folds."""
    epoch: int
    """Who may write it, as in Checkpoint."""
    position: int
    """Up to here every event of its partitions has been applied."""
    target: int
    """Where it ends."""
    recorded_at: int = 0
    """When the last event that it has applied was committed, in microseconds since 1970 UTC; 0 for none."""


def read_parts(connection: Connection, projection: str, build: int) -> list[Part]:
    """The parts of a build, by number; none where it is complete up to its checkpoint."""
    wanted = select(parts).where(*_of(projection, build)).order_by(parts.c.part)
    found = connection.execute(wanted).mappings()
    return [Part(**{**row, "partitions": json.loads(row["partitions"])}) for row in found]


def split(connection: Connection, build: Checkpoint, *, workers: int, target: int) -> list[Part]:
    """Let so many workers fill a build from its checkpoint up to a target.

    Raises TakenOver where another projector took the build over.
    """
    advance(connection, build, build)
    fresh = [
        Part(
            projection=build.projection,
            build=build.build,
            part=number,
            partitions=list(range(number, PARTITIONS, workers)),
            epoch=1,
            position=build.position,
            target=target,
        )
        for number in range(workers)
    ]
    rows = [{name: getattr(part, name) for name in Part.__slots__} for part in fresh]
    connection.execute(
        insert(parts), [row | {"partitions": json.dumps(list(row["partitions"]))} for row in rows]
    )
    return fresh


def take_part(connection: Connection, part: Part) -> Part:
    """Become the one that may write a part, and every older one fails; raises TakenOver where it is gone."""
    changed = connection.execute(
        update(parts)
        .where(*_is(part))
        .values(epoch=parts.c.epoch + 1)
        .returning(parts.c.epoch, parts.c.position, parts.c.recorded_at)
    ).first()
    if changed is None:
        raise TakenOver(f"build {part.build} of projection {part.projection} is gone")
    return replace(part, **changed._mapping)


def advance_part(connection: Connection, current: Part, following: Part) -> None:
    """Move a part on; raises TakenOver where it is not ``current`` any more."""
    where = *_is(current), parts.c.epoch == current.epoch, parts.c.position == current.position
    values = {"position": following.position, "recorded_at": following.recorded_at}
    if connection.execute(update(parts).where(*where).values(values)).rowcount != 1:
        raise TakenOver(f"another worker fills part {current.part} of build {current.build}; this one stops")


def join(connection: Connection, build: Checkpoint) -> Checkpoint:
    """Make one of the parts again; raises NotComplete where they are not all at their target, TakenOver."""
    known = read_parts(connection, build.projection, build.build)
    if not known or any(part.position < part.target for part in known):
        raise NotComplete(f"build {build.build} of projection {build.projection} is not complete")
    reached = min(part.position for part in known)
    following = replace(
        build,
        position=reached,
        recorded_at=max(part.recorded_at for part in known),
        head=max(build.head, reached),
    )
    drop_parts(connection, build.projection, build.build)
    advance(connection, build, following)
    return following


def drop_parts(connection: Connection, projection: str, build: int) -> None:
    """Forget the parts of a build; whoever writes one is fenced out."""
    connection.execute(delete(parts).where(*_of(projection, build)))


def _of(projection: str, build: int) -> tuple[Any, ...]:
    return parts.c.projection == projection, parts.c.build == build


def _is(part: Part) -> tuple[Any, ...]:
    return *_of(part.projection, part.build), parts.c.part == part.part
