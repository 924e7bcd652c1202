"""How a context answers queries from its read model."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from twofold_server.modelling.projection import Event

CachedBy = Callable[[Any], tuple[type[Any], Hashable]]
"""``request -> (table, primary key)``: the row whose change may change the answer. No other row may change it
unless its handlers also touch this one (see Rows)."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """Answers one request at a time."""

    request: type[Message]
    """The request type of the query RPC."""
    answer: Callable[[Any, Any], Message]
    """``(request, connection) -> response``: synchronous, reads through a SQLAlchemy ``Connection`` in
    one snapshot, raises NotFound or InvalidRequest. The engine fills in ``read_info``."""
    cached_by: CachedBy | None = None
    """The row that the answer depends on; None where the answer is never kept."""


@dataclass(frozen=True, kw_only=True)
class CoalescedQuery:
    """Answers all requests that wait at the same moment with one read; for lookups by key."""

    request: type[Message]
    """The request type of the query RPC."""
    answer_all: Callable[[Sequence[Any], Any], Sequence[Message | Exception]]
    """``(requests, connection) -> responses``: as many, in the same order; an error is returned in its
    place, not raised."""
    cached_by: CachedBy | None = None
    """The row that the answer depends on; None where the answer is never kept."""


@dataclass(frozen=True, kw_only=True)
class HistoryQuery:
    """Answers from the events of one stream, as the log has them."""

    request: type[Message]
    """The request type of the query RPC, whose option says ``from_log``."""
    stream_of: Callable[[Any], str]
    """``request -> stream name``."""
    answer: Callable[[Any, Sequence[Event[Any]]], Message]
    """``(request, events) -> response``: pure. All events of the stream, the oldest first, each in its newest
    revision; none where the stream does not exist. Raises NotFound or InvalidRequest."""


@dataclass(frozen=True, kw_only=True)
class WatchQuery:
    """Answers with a stream: a row as it is, and again each time that it has changed."""

    request: type[Message]
    """The request type of the query RPC, which has a field ``resume_token``."""
    answer_all: Callable[[Sequence[Any], Any], Sequence[tuple[int, Message] | Exception]]
    """``(requests, connection) -> (position, response) pairs``, as many, in the same order: the position of
    the last event that is in the row, and the row. An error is returned in its place, not raised."""


AnyQuery = Query | CoalescedQuery | HistoryQuery | WatchQuery
"""What answers a query RPC."""
