"""How far each build of a projection is, and who may write it: the fence that keeps two projectors apart."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    bindparam,
    insert,
    select,
    text,
    update,
)

from twofold_server.errors import StartupError
from twofold_server.event_store.sql.prepared import Prepared
from twofold_server.modelling import Projection
from twofold_server.projections.status import BuildState
from twofold_server.projections.tables import FIRST, beside, table_names

metadata = MetaData()

builds = Table(
    "projection_builds",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("build", Integer, primary_key=True),
    Column("log_id", String(36), nullable=False),
    Column("version", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("head", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("plan", Text, nullable=False),
    Column("tables", Text, nullable=False),
    Column("first_table", String(100), nullable=False),
    Column("relation", BigInteger),
    Column("parked", BigInteger, nullable=False, server_default="0"),
)
"""One row for each build, written in the transaction of the rows that it speaks for.

``tables`` are the plain names, as JSON: a projector of another version must be able to rename and drop them.
``relation`` is the oid of ``first_table`` on PostgreSQL, see `read_checkpoint`. ``parked`` counts the keys
that have dead letters, so that each answer can tell of them.
"""


class TakenOver(StartupError):
    """Another projector took over; this one must not write any more."""


class OtherVersion(StartupError):
    """The build was filled by another version of the projection."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a build of a projection is in a log."""

    projection: str
    """The projection's name."""
    log_id: str
    """The log's id."""
    version: int
    """The version of the projection that filled the tables."""
    epoch: int
    """Who may write: only the projector that took over last knows it. Of the builds that are or were live,
    each had other ones than the others."""
    position: int
    """The position of the last event that was applied; 0 for none."""
    recorded_at: int
    """When that event was committed, in microseconds since 1970 UTC; 0 for none."""
    head: int
    """The position of the log's last event, as far as the projector knew."""
    build: int = FIRST
    """The number of the build."""
    state: BuildState = BuildState.LIVE
    """What the build is for."""
    created_at: int = 0
    """When the build was begun, in microseconds since 1970 UTC."""
    plan: str = ""
    """How it is being built, for whoever goes on with it."""
    tables: Sequence[str] = ()
    """The plain names of its tables."""
    parked: int = 0
    """How many keys have dead letters: their rows are behind."""


_OF_PROJECTION = select(builds).where(builds.c.projection == bindparam("wanted")).order_by(builds.c.build)
_LIVE = _OF_PROJECTION.where(builds.c.state == BuildState.LIVE.value)
# A query's snapshot may be from before a switch, while PostgreSQL finds tables by their names of now. What
# counts is the build whose table has the plain name now, with its checkpoint as of the snapshot.
_LIVE_ON_POSTGRES = _OF_PROJECTION.where(text("relation = CAST(to_regclass(first_table) AS oid)::bigint"))
_MINE = (
    update(builds)
    .where(
        builds.c.projection == bindparam("of_projection"),
        builds.c.build == bindparam("of_build"),
        builds.c.log_id == bindparam("of_log"),
        builds.c.epoch == bindparam("of_epoch"),
        builds.c.position == bindparam("of_position"),
    )
    .values(
        epoch=bindparam("epoch"),
        position=bindparam("position"),
        recorded_at=bindparam("recorded_at"),
        head=bindparam("head"),
    )
)


def read_checkpoint(connection: Connection, projection: str) -> Checkpoint | None:
    """The checkpoint of the build that queries read, or None before its projector has started once.

    In a transaction that reads rows it comes first: a switch waits for those who have read it, so that
    the rows are those of the same build.
    """
    live = _LIVE if connection.dialect.name == "sqlite" else _LIVE_ON_POSTGRES
    row = connection.execute(live, {"wanted": projection}).mappings().first()
    return _checkpoint(row) if row is not None else None


class Standing(NamedTuple):
    """How far the build that queries read is: what of its checkpoint an answer tells."""

    log_id: str
    version: int
    epoch: int
    position: int
    recorded_at: int
    head: int
    created_at: int
    parked: int


def read_standing(connection: Connection, projection: str) -> Standing | None:
    """The same as ``read_checkpoint``, for each read of a query: straight to the driver."""
    dialect = connection.dialect
    prepared = _standing.get(dialect.name)
    if prepared is None:
        live = _LIVE if dialect.name == "sqlite" else _LIVE_ON_POSTGRES
        wanted = live.with_only_columns(*(builds.c[name] for name in Standing._fields))
        prepared = _standing[dialect.name] = Prepared(wanted, dialect)
    rows = prepared.fetch(connection, wanted=projection)
    return Standing(*rows[0]) if rows else None


_standing: dict[str, Prepared] = {}
"""By the name of the dialect: the dialect itself would keep its engine and connections alive."""


def read_builds(connection: Connection, projection: str) -> list[Checkpoint]:
    """The checkpoints of all builds, by number."""
    rows = connection.execute(_OF_PROJECTION, {"wanted": projection}).mappings()
    return [_checkpoint(row) for row in rows]


def read_build(connection: Connection, projection: str, build: int | None) -> Checkpoint | None:
    """The checkpoint of one build, None being the live one."""
    if build is None:
        return read_checkpoint(connection, projection)
    return next((each for each in read_builds(connection, projection) if each.build == build), None)


def take_over(
    connection: Connection, projection: Projection, log_id: str, build: int | None = None
) -> Checkpoint:
    """Become the one that may write a build, None being the live one: the newest wins, and every older one
    fails its next transaction.

    Raises StartupError where the tables were filled from another log, OtherVersion where by another version,
    and TakenOver where two take over at the same moment and the other was faster, or the build is gone.
    """
    found = read_build(connection, projection.name, build)
    if found is None and build is None:
        return _begin_first(connection, projection, log_id)
    if found is None:
        raise TakenOver(f"build {build} of projection {projection.name} is gone")
    _check(found, projection.version, log_id)
    mine = replace(found, epoch=found.epoch + 1)
    _swap(connection, found, mine)
    return mine


def insert_build(connection: Connection, begun: Checkpoint) -> None:
    """Write the row of a build whose tables were just made."""
    first = begun.tables[0] if begun.tables else ""
    physical = first if begun.state is BuildState.LIVE else beside(first, begun.build)
    connection.execute(insert(builds), [_row(begun, first, _relation(connection, physical))])


def fresh(
    projection: Projection,
    log_id: str,
    *,
    build: int = FIRST,
    state: BuildState = BuildState.LIVE,
    plan: str = "",
) -> Checkpoint:
    """Where a build begins that is still empty."""
    return Checkpoint(
        projection=projection.name,
        log_id=log_id,
        version=projection.version,
        epoch=1,
        position=0,
        recorded_at=0,
        head=0,
        build=build,
        state=state,
        created_at=now(),
        plan=plan,
        tables=table_names(projection),
    )


def advance(connection: Connection, current: Checkpoint, following: Checkpoint) -> None:
    """Move the checkpoint on; raises TakenOver where it is not ``current`` any more."""
    _swap(connection, current, following)


def tell_parked(connection: Connection, build: Checkpoint, keys: int) -> None:
    """Write beside a build's checkpoint how many of its keys have dead letters."""
    mine = (builds.c.projection == build.projection) & (builds.c.build == build.build)
    connection.execute(update(builds).where(mine).values(parked=keys))


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def _begin_first(connection: Connection, projection: Projection, log_id: str) -> Checkpoint:
    first = fresh(projection, log_id)
    insert_build(connection, first)
    return first


def _swap(connection: Connection, current: Checkpoint, following: Checkpoint) -> None:
    changed = connection.execute(
        _MINE,
        {
            "of_projection": current.projection,
            "of_build": current.build,
            "of_log": current.log_id,
            "of_epoch": current.epoch,
            "of_position": current.position,
            "epoch": following.epoch,
            "position": following.position,
            "recorded_at": following.recorded_at,
            "head": following.head,
        },
    )
    if changed.rowcount != 1:
        raise TakenOver(f"another projector has taken over projection {current.projection}; this one stops")


def _check(found: Checkpoint, version: int, log_id: str) -> None:
    if found.log_id != log_id:
        raise StartupError(
            f"projection {found.projection} was filled from event log {found.log_id}, but the command server "
            f"has log {log_id}; use another read database, or remove this one to build it anew"
        )
    if found.version != version:
        raise OtherVersion(
            f"build {found.build} of projection {found.projection} was built by its version {found.version}, "
            f"this is version {version}"
        )


def _checkpoint(row: RowMapping) -> Checkpoint:
    known = {name: row[name] for name in Checkpoint.__slots__}
    return Checkpoint(**known | {"state": BuildState(row["state"]), "tables": json.loads(row["tables"])})


def _row(checkpoint: Checkpoint, first_table: str, relation: int | None) -> dict[str, object]:
    known: dict[str, object] = {name: getattr(checkpoint, name) for name in Checkpoint.__slots__}
    known |= {"state": checkpoint.state.value, "tables": json.dumps(list(checkpoint.tables))}
    return known | {"first_table": first_table, "relation": relation}


def _relation(connection: Connection, table: str) -> int | None:
    if connection.dialect.name != "postgresql":
        return None
    found = connection.execute(text("SELECT CAST(to_regclass(:name) AS oid)::bigint"), {"name": table})
    return found.scalar()
