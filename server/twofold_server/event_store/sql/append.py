"""A batch of appends in one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Dialect, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from twofold_server.event_store.appending import (
    Append,
    AppendOutcome,
    AppendPlan,
    StoredResponse,
    plan_append,
)
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.sql.prepared import Prepared, PreparedInsert
from twofold_server.event_store.sql.sets import Values, values_in
from twofold_server.event_store.sql.tables import events, log_head, responses, streams


class Appender:
    """Appends under the lock of the head row; the transaction is the caller's to commit."""

    def __init__(self, dialect: Dialect) -> None:
        upsert = (sqlite_insert if dialect.name == "sqlite" else postgres_insert)(streams)
        upsert = upsert.on_conflict_do_update(
            index_elements=["stream_name"], set_={"version": upsert.excluded.version}
        )
        wanted_streams = values_in(dialect, streams.c.stream_name)
        wanted_requests = values_in(dialect, responses.c.request_id)
        self._values = Values(dialect)
        self._lock_head = Prepared(select(log_head.c.position).with_for_update(), dialect)
        self._move_head = Prepared(update(log_head).values(position=bindparam("head")), dialect)
        self._find_versions = Prepared(
            select(streams.c.stream_name, streams.c.version).where(wanted_streams), dialect
        )
        self._find_responses = Prepared(
            select(responses.c.request_id, responses.c.request_hash, responses.c.response).where(
                wanted_requests
            ),
            dialect,
        )
        self._insert_events = PreparedInsert(insert(events), dialect)
        self._insert_responses = PreparedInsert(insert(responses), dialect)
        self._upsert_streams = PreparedInsert(upsert, dialect)

    def append(self, connection: Connection, batch: Sequence[Append]) -> list[AppendOutcome]:
        """Append a batch; one outcome for each, in order."""
        head = self._lock_head.fetch(connection)[0][0]
        recorded_at = time.time_ns() // 1000
        plan = plan_append(
            batch,
            head=head,
            versions=self._versions(connection, {a.stream_name for a in batch}),
            responses=self._responses(connection, [a.request_id for a in batch if a.request_id]),
            recorded_at=recorded_at,
        )
        self._write(connection, plan, recorded_at)
        return plan.outcomes

    def _versions(self, connection: Connection, names: Iterable[str]) -> dict[str, int]:
        return dict(self._find_versions.fetch(connection, wanted=self._values.bind(names)))

    def _responses(self, connection: Connection, request_ids: list[str]) -> dict[str, StoredResponse]:
        if not request_ids:
            return {}
        found = self._find_responses.fetch(connection, wanted=self._values.bind(request_ids))
        return {key: StoredResponse(request_hash, response) for key, request_hash, response in found}

    def _write(self, connection: Connection, plan: AppendPlan, recorded_at: int) -> None:
        if plan.events:
            self._insert_events.execute(connection, [_event_row(e) for e in plan.events])
            self._upsert_streams.execute(connection, list(plan.versions.items()))
            self._move_head.fetch(connection, head=plan.head)
        if plan.responses:
            self._insert_responses.execute(
                connection,
                [
                    (key, stored.request_hash, stored.response, recorded_at)
                    for key, stored in plan.responses.items()
                ],
            )


def _event_row(event: RecordedEvent) -> tuple[object, ...]:
    """The row of an event, in the order of the table's columns."""
    metadata = event.metadata
    return (
        event.position,
        event.stream_name,
        event.stream_version,
        event.event_id,
        event.type_name,
        event.revision,
        event.data,
        metadata.correlation_id,
        metadata.causation_id,
        metadata.actor,
        metadata.traceparent,
        event.recorded_at,
    )
