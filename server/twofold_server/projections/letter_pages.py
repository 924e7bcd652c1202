"""Dead letters as an operator pages through them: those that failed and those that wait."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, tuple_
from sqlalchemy.sql.selectable import Select

from twofold_server.projections.letters import Scope, letters, of

FIELDS = ("projection", "build", "stream_name", "position", "event_type", "attempts", "error", "parked_at")


@dataclass(frozen=True, slots=True)
class Letter:
    """One event that is not in the rows of a build."""

    projection: str
    build: int
    stream_name: str
    position: int
    event_type: str
    attempts: int
    error: str
    parked_at: int
    waiting: bool
    """Whether it waits behind another one of its key."""


def page(
    connection: Connection,
    scopes: Collection[Scope],
    *,
    stream_name: str,
    after: tuple[int, str],
    size: int,
) -> tuple[list[Letter], int]:
    """So many letters after a position and projection, in that order, and how many there are in all."""
    wanted = and_(or_(*(of(scope) for scope in scopes)), _named(stream_name))
    total = connection.execute(select(func.count()).select_from(letters).where(wanted)).scalar_one()
    order = (letters.c.position, letters.c.projection)
    found: Select[Any] = select(*(letters.c[name] for name in FIELDS), _first())
    rows = connection.execute(
        found.where(wanted, tuple_(*order) > tuple_(*after)).order_by(*order).limit(size)
    )
    return [_letter(*row) for row in rows], int(total)


def _letter(*row: Any) -> Letter:
    *values, first = row
    letter = dict(zip(FIELDS, values, strict=True))
    return Letter(**letter, waiting=first != letter["position"])


def _first() -> ColumnElement[int]:
    """The position of the event that the key of a letter waits for."""
    same = letters.alias()
    return (
        select(func.min(same.c.position))
        .where(
            same.c.projection == letters.c.projection,
            same.c.build == letters.c.build,
            same.c.stream_name == letters.c.stream_name,
        )
        .scalar_subquery()
    )


def _named(stream_name: str) -> ColumnElement[bool]:
    return letters.c.stream_name == (stream_name or letters.c.stream_name)
