"""Snapshots in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Dialect, bindparam, select, tuple_
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from twofold_server.event_store.snapshots import LoadedStream, Snapshot
from twofold_server.event_store.sql.prepared import Prepared, PreparedInsert
from twofold_server.event_store.sql.read import recorded
from twofold_server.event_store.sql.tables import events, snapshots


class Snapshots:
    """Loads streams by their snapshots, and writes these."""

    def __init__(self, dialect: Dialect) -> None:
        insert = (sqlite_insert if dialect.name == "sqlite" else postgres_insert)(snapshots)
        new = insert.excluded
        upsert = insert.on_conflict_do_update(
            index_elements=["stream_name"],
            set_={"version": new.version, "state_revision": new.state_revision, "state": new.state},
            where=tuple_(snapshots.c.state_revision, snapshots.c.version)
            < tuple_(new.state_revision, new.version),
        )
        name = bindparam("name", type_=snapshots.c.stream_name.type)
        revision = bindparam("revision", type_=snapshots.c.state_revision.type)
        after = bindparam("after", type_=events.c.stream_version.type)
        limit = bindparam("limit", type_=events.c.stream_version.type)
        self._find = Prepared(
            select(snapshots).where(snapshots.c.stream_name == name, snapshots.c.state_revision == revision),
            dialect,
        )
        self._events = Prepared(
            select(events)
            .where(events.c.stream_name == name, events.c.stream_version > after)
            .order_by(events.c.stream_version)
            .limit(limit),
            dialect,
        )
        self._upsert = PreparedInsert(upsert, dialect)

    def load(self, connection: Connection, stream_name: str, state_revision: int, limit: int) -> LoadedStream:
        """The snapshot of a stream and the events after it."""
        row = self._find.execute(connection, name=stream_name, revision=state_revision).one_or_none()
        snapshot = Snapshot(row.stream_name, row.version, row.state_revision, row.state) if row else None
        after = snapshot.version if snapshot else 0
        rows = self._events.execute(connection, name=stream_name, after=after, limit=limit)
        return LoadedStream(snapshot, recorded(rows))

    def write(self, connection: Connection, batch: Sequence[Snapshot]) -> None:
        """Store the newest snapshot of each stream."""
        newest = {s.stream_name: s for s in sorted(batch, key=lambda s: (s.state_revision, s.version))}
        # In one order in every server, so that two of them cannot wait for each other's rows.
        rows = [(name, s.version, s.state_revision, s.state) for name, s in sorted(newest.items())]
        self._upsert.execute(connection, rows)
