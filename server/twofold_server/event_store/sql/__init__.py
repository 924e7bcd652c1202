"""The event store in SQL: tables, append, read."""

from twofold_server.event_store.sql.store import SqlEventStore

__all__ = ["SqlEventStore"]
