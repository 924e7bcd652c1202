"""A recorded event as the contract shows it, and back."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp

from twofold.v1 import recorded_event_pb2 as pb
from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import EventMetadata

_TYPE_URL = "type.googleapis.com/"
_MICROS = 1_000_000


def to_proto(event: RecordedEvent) -> pb.RecordedEvent:
    """The ``twofold.v1.RecordedEvent`` of a recorded event."""
    seconds, micros = divmod(event.recorded_at, _MICROS)
    where_from = event.metadata
    return pb.RecordedEvent(
        position=event.position,
        stream_name=event.stream_name,
        stream_version=event.stream_version,
        event_id=event.event_id,
        event=Any(type_url=_TYPE_URL + event.type_name, value=event.data),
        metadata=pb.EventMetadata(
            correlation_id=where_from.correlation_id,
            causation_id=where_from.causation_id,
            actor=where_from.actor,
            traceparent=where_from.traceparent,
        ),
        recorded_at=Timestamp(seconds=seconds, nanos=micros * 1000),
        revision=event.revision,
    )


def from_proto(event: pb.RecordedEvent) -> RecordedEvent:
    """The recorded event of a ``twofold.v1.RecordedEvent``."""
    where_from = event.metadata
    return RecordedEvent(
        position=event.position,
        stream_name=event.stream_name,
        stream_version=event.stream_version,
        event_id=event.event_id,
        type_name=event.event.type_url.removeprefix(_TYPE_URL),
        revision=event.revision,
        data=event.event.value,
        metadata=EventMetadata(
            where_from.correlation_id, where_from.causation_id, where_from.actor, where_from.traceparent
        ),
        recorded_at=event.recorded_at.seconds * _MICROS + event.recorded_at.nanos // 1000,
    )
