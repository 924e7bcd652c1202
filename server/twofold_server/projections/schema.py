"""The schema of the read store: the engine's tables and those of the projections."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, Connection, Integer, Table, insert, inspect, select, text

from twofold_server.errors import StartupError
from twofold_server.modelling import Projection
from twofold_server.projections.checkpoints import metadata

SCHEMA = 1
"""The version of the engine's own tables in the read store."""

read_store = Table(
    "read_store", metadata, Column("schema_version", Integer, primary_key=True, autoincrement=False)
)
"""One row: the version of the schema."""


def prepare(connection: Connection, projections: Iterable[Projection]) -> None:
    """Create what is missing; raises StartupError for a newer schema."""
    if connection.dialect.name == "postgresql":
        # Two projectors that start together must not both create. The number is arbitrary.
        connection.execute(text("SELECT pg_advisory_xact_lock(727262)"))
    check(connection)
    metadata.create_all(connection)
    if connection.execute(select(read_store)).first() is None:
        connection.execute(insert(read_store), [{"schema_version": SCHEMA}])
    for projection in projections:
        for table in projection.tables:
            table.__table__.create(connection, checkfirst=True)


def is_prepared(connection: Connection) -> bool:
    """Whether a projector has made the tables; raises StartupError for a newer schema."""
    return check(connection) is not None


def check(connection: Connection) -> int | None:
    """The version of the schema, None before there is one; raises StartupError for a newer one."""
    if not inspect(connection).has_table(read_store.name):
        return None
    version = connection.execute(select(read_store.c.schema_version)).scalar()
    if version is not None and version > SCHEMA:
        raise StartupError(
            f"the read database has schema {version}, which this version does not know; start a newer Twofold"
        )
    return version
