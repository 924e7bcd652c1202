"""The rows of the read store, as one snapshot shows them beside the position that they stand at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, LargeBinary, String, and_, func, or_, select, tuple_, type_coerce
from sqlalchemy.types import NullType

from twofold_server.errors import Unavailable
from twofold_server.event_store.sql.sets import is_in
from twofold_server.projections.checkpoints import Checkpoint, read_checkpoint
from twofold_server.projections.proof.shapes import Key, Shape, Values, plain


@dataclass(frozen=True, slots=True)
class Stand:
    """Which events the rows hold: all up to the checkpoint, but for those that are parked."""

    checkpoint: Checkpoint
    """How far the live build is."""
    left_out: frozenset[int]
    """The positions of events that wait in the dead letters."""

    @property
    def position(self) -> int:
        """The position of the checkpoint."""
        return self.checkpoint.position


def read_stand(connection: Connection, projection: str) -> Stand:
    """Where a projection stands in this snapshot; raises Unavailable before it has started once."""
    checkpoint = read_checkpoint(connection, projection)
    if checkpoint is None:
        raise Unavailable(
            f"projection {projection} has not started yet; try again in a moment",
            reason="PROJECTION_NOT_STARTED",
        )
    return Stand(checkpoint, frozenset())


def read_rows(connection: Connection, shape: Shape, keys: Collection[Key]) -> dict[Key, Values]:
    """The rows with these keys."""
    if not keys:
        return {}
    found = connection.execute(select(*_raw(shape)).where(among(connection, shape, keys)))
    return _by_key(shape, found)


def read_page(connection: Connection, shape: Shape, after: Key | None, limit: int) -> dict[Key, Values]:
    """The first rows after a key, in the order of the primary key."""
    page = select(*_raw(shape)).order_by(*shape.key_columns).limit(limit)
    if after is not None:
        page = page.where(_beyond(shape.key_columns, after))
    return _by_key(shape, connection.execute(page))


def read_some(connection: Connection, shape: Shape, count: int) -> dict[Key, Values]:
    """So many rows, chosen at random."""
    some = select(*_raw(shape)).order_by(func.random()).limit(count)
    return _by_key(shape, connection.execute(some))


def count_rows(connection: Connection, shapes: Sequence[Shape]) -> int:
    """How many rows the tables have together."""
    counts = (select(func.count()).select_from(shape.columns[0].table) for shape in shapes)
    return sum(connection.execute(count).scalar_one() for count in counts)


def among(connection: Connection, shape: Shape, keys: Collection[Key]) -> Any:
    """The condition that a row has one of these keys."""
    columns = shape.key_columns
    if len(columns) > 1:
        return tuple_(*columns).in_(keys)
    if isinstance(columns[0].type, String):
        return is_in(connection, columns[0], [key[0] for key in keys])
    return columns[0].in_([key[0] for key in keys])


def in_parts(keys: Sequence[Key], size: int) -> Iterator[Sequence[Key]]:
    """Keys in parts of at most a size."""
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _raw(shape: Shape) -> list[Any]:
    """The columns; bytes as they are, since SQLite holds anything and the type would refuse a text."""
    columns = shape.columns
    return [type_coerce(each, NullType()) if isinstance(each.type, LargeBinary) else each for each in columns]


def _by_key(shape: Shape, found: Any) -> dict[Key, Values]:
    rows: Iterator[Values] = (tuple(plain(value) for value in row) for row in found)
    return {shape.key(values): values for values in rows}


def _beyond(columns: Sequence[Any], after: Key) -> Any:
    """Later in key order; spelled out, as tuples of bound values have no types."""
    return or_(
        *(
            and_(*(columns[n] == after[n] for n in range(place)), columns[place] > after[place])
            for place in range(len(columns))
        )
    )
