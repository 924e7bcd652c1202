"""From event messages to stored bytes and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import Message

from twofold_server.messages.contract import ContextContract, EventContract

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EventCodec:
    """Knows every event type of the loaded contexts."""

    def __init__(self, contexts: Iterable[ContextContract]) -> None:
        self._contracts: Mapping[str, EventContract] = {
            name: event for context in contexts for name, event in context.events.items()
        }

    def revision_of(self, event: Message) -> int:
        """The revision in which this event is written today."""
        return self._contracts[event.DESCRIPTOR.full_name].revision

    def knows(self, type_name: str) -> bool:
        """Whether a loaded context declares this event."""
        return type_name in self._contracts

    def decode(self, event: Any) -> Message:
        """The message of a RecordedEvent; raises KeyError for a type that no loaded context declares."""
        return self._contracts[event.type_name].message.FromString(event.data)


def time_of(microseconds: int) -> datetime:
    """From microseconds since 1970 to a time in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
