"""Snapshots: the state of a stream at a version, so that its older events need not be read again."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from twofold_server.event_store.events import RecordedEvent


class Snapshot(Struct, frozen=True):
    """A state that was stored; it can be dropped at any time, the events have it all."""

    stream_name: str
    """The stream."""
    version: int
    """The stream version after whose event this was the state."""
    state_revision: int
    """The revision of the state's shape and meaning."""
    state: bytes
    """The state, serialized."""


class LoadedStream(Struct, frozen=True):
    """What is read to get at the state of a stream."""

    snapshot: Snapshot | None
    """The newest snapshot of the wanted state revision, or None."""
    events: Sequence[RecordedEvent]
    """The first events after it, in order."""
