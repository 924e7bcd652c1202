"""Events of one stream through the handlers, into rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import Projection
from twofold_server.projections.handlers import Handlers
from twofold_server.projections.proof.memory import MemoryRows
from twofold_server.projections.proof.shapes import Key, Shape, Values, shape_of

Place = tuple[Shape, Key]
"""A row, by its table and its key."""
Watcher = Callable[[RecordedEvent, Values | None, Values | None], None]
"""Told of each event that changed a row: the event, the row before and after."""


class Replay:
    """Folds streams alone, as far as the tables go of which each row comes out of one stream."""

    def __init__(self, projection: Projection, handlers: Handlers) -> None:
        self._handlers = handlers
        self._stream_of = {shape_of(table): of for table, of in projection.stream_of.items()}

    @property
    def shapes(self) -> Sequence[Shape]:
        """The tables."""
        return list(self._stream_of)

    def stream_of(self, shape: Shape, key: Key) -> str:
        """The stream that the row with a key comes from."""
        return self._stream_of[shape](shape.only_key(key))

    def rows(
        self, stream: str, events: Iterable[RecordedEvent], left_out: Collection[int]
    ) -> Mapping[Place, Values]:
        """The rows that a stream's events make, without those at positions that are left out.

        What a handler fails on is left out too: such an event was passed over by whoever skipped it.
        """
        _, rows = self._fold(events, left_out)
        return dict(self._own(stream, rows))

    def follow(
        self, events: Iterable[RecordedEvent], left_out: Collection[int], place: Place, watcher: Watcher
    ) -> None:
        """Tell of each event that changes a row."""
        folded, _ = self._fold(events, left_out)
        rows, before = MemoryRows(), None
        for event in folded:
            self._apply([event], rows)
            if (after := rows.values(*place)) != before:
                watcher(event, before, after)
                before = after

    def _fold(
        self, events: Iterable[RecordedEvent], left_out: Collection[int]
    ) -> tuple[list[RecordedEvent], MemoryRows]:
        """The events that handlers take, and the rows that they make."""
        wanted = [e for e in events if e.position not in left_out and self._handlers.handle(e)]
        while True:
            rows = MemoryRows()
            failed = self._apply(wanted, rows)
            if failed is None:
                return wanted, rows
            wanted.remove(failed)

    def _apply(self, events: Iterable[RecordedEvent], rows: MemoryRows) -> RecordedEvent | None:
        """The event that a handler fails on; None where all went well."""
        for recorded in events:
            event = self._handlers.event(recorded)
            try:
                self._handlers.apply(recorded, event, rows)
            except Exception:  # whatever a handler raises
                return recorded
        return None

    def _own(self, stream: str, rows: MemoryRows) -> Iterator[tuple[Place, Values]]:
        for shape in self._stream_of:
            for values in rows.all(shape):
                key = shape.key(values)
                if self.stream_of(shape, key) == stream:
                    yield (shape, key), values
