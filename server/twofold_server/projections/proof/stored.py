"""The rows of the read store, as one snapshot shows them beside the position that they stand at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Select, String, and_, func, or_, select, tuple_, type_coerce
from sqlalchemy.types import NullType

from twofold_server.errors import Unavailable
from twofold_server.event_store.sql.sets import is_in
from twofold_server.projections.checkpoints import Checkpoint, read_checkpoint
from twofold_server.projections.letters import Scope, letters
from twofold_server.projections.proof.shapes import Key, Shape, Values, plain
from twofold_server.projections.skips import skips


@dataclass(frozen=True, slots=True)
class Stand:
    """Which events the rows hold: all up to the checkpoint, but for those that are left out."""

    checkpoint: Checkpoint
    """How far the live build is."""
    left_out: frozenset[int]
    """The positions of events that wait in the dead letters, or were skipped."""

    @property
    def position(self) -> int:
        """The position of the checkpoint."""
        return self.checkpoint.position


def read_stand(connection: Connection, projection: str, version: int | None = None) -> Stand:
    """Where a projection stands in this snapshot; to be called before rows are read, see read_checkpoint.

    Raises Unavailable before the projection has started once, and where queries read another version.
    """
    checkpoint = read_checkpoint(connection, projection)
    if checkpoint is None:
        raise Unavailable(
            f"projection {projection} has not started yet; try again in a moment",
            reason="PROJECTION_NOT_STARTED",
        )
    if version not in (None, checkpoint.version):
        raise Unavailable(
            f"queries read version {checkpoint.version} of {projection}, this is version {version}; "
            "try again when it was switched to",
            reason="READ_MODEL_VERSION",
        )
    return Stand(checkpoint, frozenset(left_out(connection, Scope(projection, checkpoint.build))))


def left_out(connection: Connection, scope: Scope) -> Iterator[int]:
    """The positions of events that a build passed over."""
    for table in letters, skips:
        mine = and_(table.c.projection == scope.projection, table.c.build == scope.build)
        yield from connection.execute(select(table.c.position).where(mine)).scalars()


def read_rows(connection: Connection, shape: Shape, keys: Collection[Key]) -> dict[Key, Values]:
    """The rows with these keys."""
    if not keys:
        return {}
    found = select(*_selected(connection, shape)).where(among(connection, shape, keys))
    return _by_key(connection, shape, found)


def read_page(connection: Connection, shape: Shape, after: Key | None, limit: int) -> dict[Key, Values]:
    """The first rows after a key, in the order of the primary key."""
    page = select(*_selected(connection, shape)).order_by(*shape.key_columns).limit(limit)
    if after is not None:
        page = page.where(_beyond(shape.key_columns, after))
    return _by_key(connection, shape, page)


def read_some(connection: Connection, shape: Shape, count: int) -> dict[Key, Values]:
    """So many rows, chosen at random."""
    some = select(*_selected(connection, shape)).order_by(func.random()).limit(count)
    return _by_key(connection, shape, some)


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


def _selected(connection: Connection, shape: Shape) -> list[Any]:
    """The columns; on SQLite, which holds anything anywhere, as they are: a type may refuse what is there."""
    if connection.dialect.name != "sqlite":
        return list(shape.columns)
    return [type_coerce(column, NullType()) for column in shape.columns]


def _by_key(connection: Connection, shape: Shape, wanted: Select[Any]) -> dict[Key, Values]:
    readers = _readers(connection.dialect, shape)
    rows: Iterator[Values] = (
        tuple(plain(read(value)) for read, value in zip(readers, row, strict=True))
        for row in connection.execute(wanted)
    )
    return {shape.key(values): values for values in rows}


def _readers(dialect: Dialect, shape: Shape) -> list[Callable[[Any], Any]]:
    if dialect.name != "sqlite":
        return [_as_it_is] * len(shape.columns)
    impls = (column.type.dialect_impl(dialect) for column in shape.columns)
    return [_forgiving(impl.result_processor(dialect, None)) for impl in impls]


def _forgiving(process: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    if process is None:
        return _as_it_is

    def read(value: Any) -> Any:
        try:
            return process(value)
        except (ValueError, TypeError, ArithmeticError):
            return value

    return read


def _as_it_is(value: Any) -> Any:
    return value


def _beyond(columns: Sequence[Any], after: Key) -> Any:
    """Later in key order; spelled out, as tuples of bound values have no types."""
    return or_(
        *(
            and_(*(columns[n] == after[n] for n in range(place)), columns[place] > after[place])
            for place in range(len(columns))
        )
    )
