"""Reading the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, false, func, or_, select

from twofold_server.event_store.appending import StoredResponse
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.filters import PARTITIONS, EventFilter, partition_of
from twofold_server.event_store.sql.sets import is_in
from twofold_server.event_store.sql.tables import events, log_head, responses, streams
from twofold_server.modelling import EventMetadata

_EVENTS = select(events)


def read_stream(
    connection: Connection, stream_name: str, from_version: int, to_version: int | None, limit: int
) -> list[RecordedEvent]:
    """The events of a stream, in order."""
    query = _EVENTS.where(events.c.stream_name == stream_name, events.c.stream_version >= from_version)
    if to_version is not None:
        query = query.where(events.c.stream_version <= to_version)
    return recorded(connection.execute(query.order_by(events.c.stream_version).limit(limit)))


def read_events(
    connection: Connection, after_position: int, to_position: int | None, limit: int
) -> list[RecordedEvent]:
    """The events after a position, in order."""
    query = _EVENTS.where(events.c.position > after_position)
    if to_position is not None:
        query = query.where(events.c.position <= to_position)
    return recorded(connection.execute(query.order_by(events.c.position).limit(limit)))


def search_events(
    connection: Connection, after_position: int, wanted: EventFilter, to_position: int, limit: int
) -> list[RecordedEvent]:
    """The wanted events in a range of positions, in order."""
    query = _EVENTS.where(events.c.position > after_position, events.c.position <= to_position)
    query = query.where(*_conditions(connection, wanted)).order_by(events.c.position)
    if not wanted.partitions:
        return recorded(connection.execute(query.limit(limit)))
    # The partition is a hash that no database knows, so that part of the filter runs here. Rows are fetched
    # in pieces of about as many as it takes to find what is wanted.
    piece = min(limit * max(PARTITIONS // len(wanted.partitions), 1), 1000)
    found: list[RecordedEvent] = []
    with connection.execute(query, execution_options={"yield_per": piece}) as rows:
        for row in rows:
            if partition_of(row.stream_name) in wanted.partitions:
                found.append(_event(row))
                if len(found) == limit:
                    break
    return found


def _conditions(connection: Connection, wanted: EventFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.packages:
        among = [_in_package(events.c.type_name, package) for package in wanted.packages]
        if wanted.moved_types:
            among.append(is_in(connection, events.c.type_name, wanted.moved_types))
        conditions.append(_any(among))
    if wanted.categories:
        words = (category for category in wanted.categories if "-" not in category)
        conditions.append(_any(_starts(events.c.stream_name, f"{word}-") for word in words))
    if wanted.type_names:
        conditions.append(is_in(connection, events.c.type_name, wanted.type_names))
    if wanted.stream_names:
        conditions.append(is_in(connection, events.c.stream_name, wanted.stream_names))
    return conditions


def _in_package(type_name: ColumnElement[Any], package: str) -> ColumnElement[bool]:
    rest = func.substr(type_name, len(package) + 2)
    return and_(_starts(type_name, f"{package}."), ~rest.contains("."))


def _starts(name: ColumnElement[Any], prefix: str) -> ColumnElement[bool]:
    # Not LIKE: in SQLite that takes small and capital letters for the same.
    return func.substr(name, 1, len(prefix)) == prefix


def _any(conditions: Iterable[ColumnElement[bool]]) -> ColumnElement[bool]:
    return or_(false(), *conditions)


def recorded(rows: Iterable[Row[Any]]) -> list[RecordedEvent]:
    """The events of rows of the table."""
    return [_event(row) for row in rows]


def _event(row: Row[Any]) -> RecordedEvent:
    where_from = EventMetadata(row.correlation_id, row.causation_id, row.actor, row.traceparent)
    return RecordedEvent(
        row.position,
        row.stream_name,
        row.stream_version,
        row.event_id,
        row.type_name,
        row.revision,
        row.data,
        where_from,
        row.recorded_at,
    )


def stream_version(connection: Connection, stream_name: str) -> int:
    """The version of a stream; 0 where it does not exist."""
    found = select(streams.c.version).where(streams.c.stream_name == stream_name)
    return connection.execute(found).scalar_one_or_none() or 0


def read_head(connection: Connection) -> int:
    """The position of the last event."""
    head: int = connection.execute(select(log_head.c.position)).scalar_one()
    return head


def find_response(connection: Connection, request_id: str) -> StoredResponse | None:
    """What was answered to a request id."""
    found = select(responses.c.request_hash, responses.c.response).where(responses.c.request_id == request_id)
    row = connection.execute(found).one_or_none()
    return StoredResponse(row.request_hash, row.response) if row else None


def prune_responses(connection: Connection, recorded_before: int, limit: int) -> int:
    """Delete the oldest stored responses."""
    old: Sequence[str] = (
        connection.execute(
            select(responses.c.request_id)
            .where(responses.c.recorded_at < recorded_before)
            .order_by(responses.c.recorded_at)
            .limit(limit)
            .with_for_update(skip_locked=True)  # another server prunes those
        )
        .scalars()
        .all()
    )
    if old:
        connection.execute(delete(responses).where(is_in(connection, responses.c.request_id, old)))
    return len(old)
