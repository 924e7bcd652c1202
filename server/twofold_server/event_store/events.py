"""Events to be written, and written: two types."""

from __future__ import annotations

from msgspec import Struct

from twofold_server.modelling import EventMetadata


class NewEvent(Struct, frozen=True):
    """An event to be written."""

    event_id: str
    """A UUID, unique for ever."""
    type_name: str
    """The full proto name."""
    revision: int
    """The revision of ``data``, from 1."""
    data: bytes
    """The event, serialized."""
    metadata: EventMetadata
    """Where it comes from."""


class RecordedEvent(Struct, frozen=True):
    """An event that was written."""

    position: int
    """The global position: 1-based, in commit order, without gaps."""
    stream_name: str
    """The stream."""
    stream_version: int
    """The place in the stream: 1-based, without gaps."""
    event_id: str
    """A UUID."""
    type_name: str
    """The full proto name."""
    revision: int
    """The revision of ``data``, from 1."""
    data: bytes
    """The event, serialized."""
    metadata: EventMetadata
    """Where it came from."""
    recorded_at: int
    """When it was committed, in microseconds since 1970 UTC."""

    @property
    def category(self) -> str:
        """The kind of aggregate."""
        return self.stream_name.partition("-")[0]

    @property
    def package(self) -> str:
        """The proto package of the event's context."""
        return self.type_name.rpartition(".")[0]
