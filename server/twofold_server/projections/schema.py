"""The schema of the read store: the engine's tables and those of the projections."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, Connection, Integer, Table, insert, inspect, select, text, update

from twofold_server.errors import StartupError
from twofold_server.modelling import Projection
from twofold_server.projections.attempts import attempts_table
from twofold_server.projections.checkpoints import (
    Checkpoint,
    builds,
    insert_build,
    metadata,
    now,
    read_builds,
)
from twofold_server.projections.letters import letters
from twofold_server.projections.parts import parts
from twofold_server.projections.skips import skips
from twofold_server.projections.tables import make_first, table_names

SCHEMA = 2
"""The version of the engine's own tables in the read store."""
_CHECKPOINTS = "projection_checkpoints"
"""What schema 1 had for `projection_builds`."""

ENGINE_TABLES = (builds, parts, letters, attempts_table, skips)
"""What the engine keeps beside the projections' own tables: their modules must have been imported."""

read_store = Table(
    "read_store", metadata, Column("schema_version", Integer, primary_key=True, autoincrement=False)
)
"""One row: the version of the schema."""


def prepare(connection: Connection, projections: Iterable[Projection]) -> None:
    """Create what is missing; raises StartupError for a newer schema."""
    if connection.dialect.name == "postgresql":
        # Two projectors that start together must not both create. The number is arbitrary.
        connection.execute(text("SELECT pg_advisory_xact_lock(727262)"))
    before = check(connection)
    metadata.create_all(connection)
    wanted = list(projections)
    if before is None:
        connection.execute(insert(read_store), [{"schema_version": SCHEMA}])
    elif before < SCHEMA:
        _migrate(connection, wanted)
    for projection in wanted:
        _make_tables(connection, projection)


def is_prepared(connection: Connection) -> bool:
    """Whether a projector has made the tables; raises StartupError for a newer schema."""
    return check(connection) == SCHEMA


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


def _make_tables(connection: Connection, projection: Projection) -> None:
    """Tables of a live build of another version are not this projection's to complete."""
    known = read_builds(connection, projection.name)
    if all(build.version == projection.version for build in known):
        make_first(connection, projection)


def _migrate(connection: Connection, projections: Iterable[Projection]) -> None:
    """From schema 1: each projection had one build. Those that nobody runs any more begin anew one day."""
    known = {projection.name: projection for projection in projections}
    for row in connection.execute(text(f"SELECT * FROM {_CHECKPOINTS}")).mappings().all():
        if (projection := known.get(row["projection"])) is not None:
            names = table_names(projection)
            insert_build(connection, Checkpoint(**row, created_at=now(), tables=names))
    connection.execute(text(f"DROP TABLE {_CHECKPOINTS}"))
    connection.execute(update(read_store).values(schema_version=SCHEMA))
