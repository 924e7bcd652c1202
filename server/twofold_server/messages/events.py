"""From event messages to stored bytes and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.message import Message
from msgspec.structs import replace

from twofold_server.errors import Unavailable
from twofold_server.messages.chains import find_chains
from twofold_server.messages.contract import ContextContract, EventContract
from twofold_server.messages.upcasting import Key
from twofold_server.modelling import Event

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
R = TypeVar("R")


class EventCodec:
    """Knows every event type of the loaded contexts, and how their former types and revisions are read."""

    def __init__(self, contexts: Iterable[ContextContract]) -> None:
        """Raises StartupError for wrong upcasters."""
        contexts = list(contexts)
        self._contracts: Mapping[str, EventContract] = {
            name: event for context in contexts for name, event in context.events.items()
        }
        self._chains = find_chains(contexts)
        self._newest_names = {name: name for name in self._contracts} | {
            name: chain.newest_name for (name, _), chain in self._chains.items()
        }
        readers: dict[Key, Callable[[bytes], Message]] = {
            (name, event.revision): event.message.FromString for name, event in self._contracts.items()
        }
        self._readers = readers | {key: chain.read for key, chain in self._chains.items()}

    def revision_of(self, event: Message) -> int:
        """The revision in which this event is written today."""
        return self._contracts[event.DESCRIPTOR.full_name].revision

    def knows(self, type_name: str) -> bool:
        """Whether events stored under this name can be read: today's types, and those that became one."""
        return type_name in self._newest_names

    def decode(self, event: Any) -> Message:
        """The message of a RecordedEvent, in today's revision of today's type.

        Raises KeyError for a type that no loaded context declares, Unavailable (EVENT_TOO_NEW) for a
        revision that a newer server wrote, UpcastFailed.
        """
        try:
            read = self._readers[event.type_name, event.revision]
        except KeyError:
            raise self._unreadable(event) from None
        return read(event.data)

    def event(self, recorded: Any) -> Event[Any]:
        """A RecordedEvent as handlers and queries see it; raises as ``decode``."""
        return Event(
            self.decode(recorded),
            recorded.position,
            recorded.stream_name,
            recorded.stream_version,
            recorded.event_id,
            time_of(recorded.recorded_at),
            recorded.metadata,
        )

    def newest(self, events: list[R]) -> list[R]:
        """RecordedEvents, encoded in today's revision of today's type; what is so already stays untouched."""
        chains = self._chains
        if not chains:
            return events
        return [self._renewed(e) if (e.type_name, e.revision) in chains else e for e in _any(events)]

    def newest_name(self, type_name: str) -> str:
        """What a type is called today; its own name where it is not known."""
        return self._newest_names.get(type_name, type_name)

    def stored_names(self, type_names: Iterable[str]) -> frozenset[str]:
        """All names under which events of these types are stored; a former name stands for today's."""
        wanted = {self.newest_name(name) for name in type_names}
        return frozenset(wanted | {old for old, new in self._newest_names.items() if new in wanted})

    def moved_into(self, packages: Iterable[str]) -> frozenset[str]:
        """The stored names of other packages whose events belong to one of these today."""
        wanted = set(packages)
        return frozenset(
            old
            for old, new in self._newest_names.items()
            if _package(new) in wanted and _package(old) not in wanted
        )

    def _renewed(self, event: Any) -> Any:
        message = self.decode(event)
        return replace(
            event,
            type_name=message.DESCRIPTOR.full_name,
            revision=self.revision_of(message),
            data=message.SerializeToString(deterministic=True),
        )

    def _unreadable(self, event: Any) -> Exception:
        if not self.knows(event.type_name):
            return KeyError(event.type_name)
        known = max(revision for name, revision in self._readers if name == event.type_name)
        return Unavailable(
            f"{event.type_name} at position {event.position} has revision {event.revision}, and this version "
            f"knows revision {known}; start the version that wrote it",
            reason="EVENT_TOO_NEW",
            metadata={"event_type": event.type_name, "revision": str(event.revision)},
        )


def time_of(microseconds: int) -> datetime:
    """From microseconds since 1970 to a time in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _package(type_name: str) -> str:
    return type_name.rpartition(".")[0]


def _any(events: list[R]) -> list[Any]:
    return events
