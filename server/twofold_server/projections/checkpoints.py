"""How far each projection is, and who may write it: the fence that keeps two projectors apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    select,
    update,
)

from twofold_server.errors import StartupError

metadata = MetaData()

checkpoints = Table(
    "projection_checkpoints",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("log_id", String(36), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("head", BigInteger, nullable=False),
)
"""One row for each projection and log, written in the transaction of the rows that it speaks for."""


class TakenOver(StartupError):
    """Another projector took over; this one must not write any more."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a projection is in a log."""

    projection: str
    """The projection's name."""
    log_id: str
    """The log's id."""
    version: int
    """The version of the projection that filled the tables."""
    epoch: int
    """Who may write: only the projector that took over last knows it."""
    position: int
    """The position of the last event that was applied; 0 for none."""
    recorded_at: int
    """When that event was committed, in microseconds since 1970 UTC; 0 for none."""
    head: int
    """The position of the log's last event, as far as the projector knew."""


_OF_PROJECTION = select(checkpoints).where(checkpoints.c.projection == bindparam("wanted"))
_MINE = (
    update(checkpoints)
    .where(
        checkpoints.c.projection == bindparam("of_projection"),
        checkpoints.c.log_id == bindparam("of_log"),
        checkpoints.c.epoch == bindparam("of_epoch"),
        checkpoints.c.position == bindparam("of_position"),
    )
    .values(
        epoch=bindparam("epoch"),
        position=bindparam("position"),
        recorded_at=bindparam("recorded_at"),
        head=bindparam("head"),
    )
)


def read_checkpoint(connection: Connection, projection: str) -> Checkpoint | None:
    """The checkpoint of a projection, or None before its projector has started once."""
    row = connection.execute(_OF_PROJECTION, {"wanted": projection}).first()
    return Checkpoint(*row) if row is not None else None


def take_over(connection: Connection, projection: str, version: int, log_id: str) -> Checkpoint:
    """Become the one that may write: the newest wins, and every older one fails its next transaction.

    Raises StartupError where the tables were filled from another log or by another version, and TakenOver
    where two take over at the same moment and the other was faster.
    """
    found = read_checkpoint(connection, projection)
    if found is None:
        fresh = Checkpoint(projection, log_id, version, epoch=1, position=0, recorded_at=0, head=0)
        connection.execute(insert(checkpoints), [_columns(fresh)])
        return fresh
    _check(found, version, log_id)
    mine = replace(found, epoch=found.epoch + 1)
    _swap(connection, found, mine)
    return mine


def advance(connection: Connection, current: Checkpoint, following: Checkpoint) -> None:
    """Move the checkpoint on; raises TakenOver where it is not ``current`` any more."""
    _swap(connection, current, following)


def _swap(connection: Connection, current: Checkpoint, following: Checkpoint) -> None:
    changed = connection.execute(
        _MINE,
        {
            "of_projection": current.projection,
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
        raise StartupError(
            f"projection {found.projection} was built by its version {found.version}, "
            f"this is version {version}; remove the read database to build it anew"
        )


def _columns(checkpoint: Checkpoint) -> dict[str, object]:
    return {column.name: getattr(checkpoint, column.name) for column in checkpoints.columns}
