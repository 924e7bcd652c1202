"""The handlers of a projection, for events as they are recorded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol

from twofold_server.errors import StartupError
from twofold_server.event_store.events import RecordedEvent
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Event, Projection, Rows

Handler = Callable[[Event[Any], Rows], None]


class PrefetchedRows(Rows, Protocol):
    """Rows that can be read before they are asked for."""

    def prefetch(self, table: Any, keys: Iterable[Hashable]) -> None:
        """Read the rows of these keys."""

    def prefetch_each(self, places: Iterable[tuple[Any, Hashable]]) -> None:
        """Read rows of several tables, each a table and a key."""


class Handlers:
    """Finds the handler of a recorded event, under all names that its type is stored under."""

    def __init__(self, projection: Projection, codec: EventCodec) -> None:
        """Raises StartupError for a handler of an event that no loaded context declares."""
        self._codec = codec
        self._projection = projection
        self._by_stored_name: dict[str, Handler] = {}
        for message, handler in projection.handlers.items():
            name = message.DESCRIPTOR.full_name
            _check_handled(projection, name, codec)
            self._by_stored_name |= dict.fromkeys(codec.stored_names([name]), handler)

    def handle(self, recorded: RecordedEvent) -> bool:
        """Whether events of this type matter to the projection."""
        return recorded.type_name in self._by_stored_name

    def event(self, recorded: RecordedEvent) -> Event[Any]:
        """The event as a handler sees it."""
        return self._codec.event(recorded)

    def prefetch(self, events: Sequence[Event[Any]], rows: PrefetchedRows) -> None:
        """Read the rows that the handlers of these events will ask for, together."""
        for table, key_of in self._projection.prefetch.items():
            rows.prefetch(table, (key for event in events if (key := key_of(event)) is not None))
        if related := self._projection.prefetch_related:
            rows.prefetch_each(place for event in events for place in related(event, rows))

    def apply(self, recorded: RecordedEvent, event: Event[Any], rows: Rows) -> None:
        """Change the rows as the event demands; raises whatever the handler raises."""
        self._by_stored_name[recorded.type_name](event, rows)


def _check_handled(projection: Projection, name: str, codec: EventCodec) -> None:
    if not codec.knows(name):
        raise StartupError(f"projection {projection.name} handles {name}, which no loaded context declares")
    newest = codec.newest_name(name)
    if newest != name:
        raise StartupError(f"projection {projection.name} handles {name}, which became {newest}; handle that")
