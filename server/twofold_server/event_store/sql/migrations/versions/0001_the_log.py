"""The log: head, events (append-only), streams, snapshots, responses."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_REFUSAL = "events are append-only"


def upgrade() -> None:
    """Create the tables, the one head row, and the triggers that refuse to change an event."""
    op.create_table(
        "log_head",
        sa.Column("log_id", sa.String(36), primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("stream_name", sa.String(512), nullable=False),
        sa.Column("stream_version", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("type_name", sa.String(255), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("correlation_id", sa.String(255), nullable=False),
        sa.Column("causation_id", sa.String(255), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("traceparent", sa.String(255), nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("stream_name", "stream_version", name="one_event_per_stream_version"),
    )
    op.create_table(
        "streams",
        sa.Column("stream_name", sa.String(512), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "snapshots",
        sa.Column("stream_name", sa.String(512), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("state_revision", sa.Integer, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "responses",
        sa.Column("request_id", sa.String(36), nullable=False, unique=True),
        sa.Column("request_hash", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_responses_recorded_at", "responses", ["recorded_at"])
    op.execute(
        sa.text("INSERT INTO log_head (log_id, position) VALUES (:id, 0)").bindparams(id=str(uuid.uuid4()))
    )
    if op.get_bind().dialect.name == "sqlite":
        _refuse_changes_in_sqlite()
    else:
        _refuse_changes_in_postgres()


def _refuse_changes_in_sqlite() -> None:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    op.execute(f"CREATE TRIGGER no_update_of_events BEFORE UPDATE ON events {refuse}")
    op.execute(f"CREATE TRIGGER no_delete_of_events BEFORE DELETE ON events {refuse}")
    # INSERT OR REPLACE deletes the row that is in the way, and no trigger sees that delete.
    op.execute(
        "CREATE TRIGGER no_replacement_of_events BEFORE INSERT ON events WHEN "
        "EXISTS (SELECT 1 FROM events WHERE position = NEW.position) OR EXISTS (SELECT 1 FROM events "
        f"WHERE stream_name = NEW.stream_name AND stream_version = NEW.stream_version) {refuse}"
    )


def _refuse_changes_in_postgres() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change_of_events() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER no_change_of_events BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_events()"
    )
