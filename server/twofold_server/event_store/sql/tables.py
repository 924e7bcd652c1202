"""The tables of the log. Their history is in ``migrations``; names and columns are on disk for ever."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint

metadata = MetaData()

log_head = Table(
    "log_head",
    metadata,
    Column("log_id", String(36), primary_key=True),
    Column("position", BigInteger, nullable=False),
)
"""One row. Whoever holds its lock gives out positions, so that their order is the order of commits."""

events = Table(
    "events",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("stream_name", String(512), nullable=False),
    Column("stream_version", BigInteger, nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("type_name", String(255), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("correlation_id", String(255), nullable=False),
    Column("causation_id", String(255), nullable=False),
    Column("actor", String(255), nullable=False),
    Column("traceparent", String(255), nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    UniqueConstraint("stream_name", "stream_version", name="one_event_per_stream_version"),
)
"""The events. The database refuses to update or delete a row."""

streams = Table(
    "streams",
    metadata,
    Column("stream_name", String(512), primary_key=True),
    Column("version", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The version of each stream: a check on the events' unique key alone would not see a gap."""

snapshots = Table(
    "snapshots",
    metadata,
    Column("stream_name", String(512), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("state_revision", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
"""The newest snapshot of a stream; can be dropped at any time."""

responses = Table(
    "responses",
    metadata,
    Column("request_id", String(36), nullable=False, unique=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("recorded_at", BigInteger, nullable=False, index=True),
)
"""The response that was given to each request id, until it expires."""

accepted_contracts = Table(
    "accepted_contracts",
    metadata,
    Column("package", String(255), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("descriptors", LargeBinary, nullable=False),
    Column("context", String(255), nullable=False),
    Column("accepted_at", BigInteger, nullable=False),
)
"""The descriptors of the events of each proto package, as of the last start that accepted them."""
