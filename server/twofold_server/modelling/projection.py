"""A read model: tables and a fold."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message
from msgspec import Struct

from twofold_server.modelling.retention import Retention

E = TypeVar("E", bound=Message)
R = TypeVar("R")


class EventMetadata(Struct, frozen=True):
    """Where an event came from; an empty string is unknown."""

    correlation_id: str = ""
    """The conversation: the same for everything that one outside action led to."""
    causation_id: str = ""
    """The id of the message that led to this event."""
    actor: str = ""
    """Who acted."""
    traceparent: str = ""
    """The W3C trace context of the call."""


@dataclass(frozen=True, slots=True)
class Event(Generic[E]):
    """A recorded event as a handler sees it."""

    data: E
    """The event itself, in its newest revision."""
    position: int
    """The global position, 1-based."""
    stream_name: str
    """The stream, for example ``order-<id>``."""
    stream_version: int
    """The place in the stream, 1-based."""
    event_id: str
    """A UUID."""
    recorded_at: datetime
    """When it was committed, in UTC."""
    metadata: EventMetadata
    """Where it came from."""

    @property
    def aggregate_id(self) -> str:
        """The stream's name without its category."""
        return self.stream_name.partition("-")[2]


class Rows(Protocol):
    """The rows of a projection's tables, as one batch of events sees them."""

    def get(self, table: type[R], key: Hashable) -> R | None:
        """The row with this primary key (a tuple where it has several columns), or None."""

    def add(self, row: object) -> None:
        """Insert a row."""

    def delete(self, row: object) -> None:
        """Delete a row."""

    def touch(self, table: type[Any], key: Hashable) -> None:
        """Say that answers which are cached by this row are no longer true, although it was not written."""


NameOf = Callable[[str], str]
"""From the plain name of a table, index or trigger to its name in the build that is being made."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Folds events into tables. Handlers are plain functions: no I/O but through ``rows``, no clock.

    A handler must not depend on the order of events of different streams.
    """

    name: str
    """The name of the read model, as in the ``query`` option of the RPCs. Stored on disk."""
    version: int = 1
    """Raised when tables or handlers change their meaning: the read model is then built anew."""
    sync: str = "eventual"
    """When it is brought up to date, where TWOFOLD_PROJECTION_SYNC does not say: ``eventual`` is as events
    come; ``batched(500, 0.05)`` suits reports and searches: fewer transactions, so that others are faster."""
    tables: Sequence[type[Any]]
    """The SQLAlchemy ORM classes that it writes; it alone writes them."""
    handlers: Mapping[type[Message], Callable[[Event[Any], Rows], None]]
    """For each event type that matters here: ``(event, rows) -> None``."""
    prefetch: Mapping[type[Any], Callable[[Event[Any]], Hashable | None]]
    """For each table: the primary key that an event will touch, or None. A batch reads all of these with
    one statement; a key that is missing here costs a statement, nothing else."""
    prefetch_related: Callable[[Event[Any], Rows], Iterable[tuple[type[Any], Hashable]]] | None = None
    """``(event, rows) -> (table, primary key) pairs`` that an event will probably touch, as far as the rows
    of ``prefetch`` tell: for keys that do not stand in the event. Read with one statement a table."""
    stream_of: Mapping[type[Any], Callable[[Any], str]] = field(default_factory=dict)
    """For tables of which each row comes out of one stream alone, whatever other streams hold:
    ``row -> stream name``, out of the columns of the primary key alone (see ``stream_by``). Such rows are
    verified and explained by their streams; rows of all other tables, counters for instance, only by a fold
    of the whole log."""
    retention: Retention | None = None
    """Which of its rows go when they are old; None keeps all for ever."""
    prepare: Callable[[Any, NameOf], None] | None = None
    """``(connection, name_of)``: makes what the tables cannot declare, such as triggers or a table for full
    text, right after the tables of a build were made. What it makes needs the names that ``name_of`` gives:
    a read model that is built beside the one that serves has its own. When queries are switched to a build,
    its tables are renamed; whatever refers to one by its name in a text, such as the body of a PostgreSQL
    function, would not notice (triggers of SQLite do)."""
    side_tables: Sequence[str] = ()
    """The plain names of the tables that ``prepare`` makes, so that they are renamed and dropped with the
    others. One of them may also be the table of a class in ``tables``: the engine then does not make it."""


def stream_by(category: str, attribute: str) -> Callable[[Any], str]:
    """The stream of a row whose key holds the aggregate's id: ``order-<id>`` in category ``order``."""
    return lambda row: f"{category}-{getattr(row, attribute)}"
