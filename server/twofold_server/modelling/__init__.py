"""The one face of the engine that a bounded context sees."""

from twofold_server.errors import InvalidRequest, NotFound, Rejected
from twofold_server.modelling.context import Context
from twofold_server.modelling.decider import Decider, Given
from twofold_server.modelling.lookup import Lookup
from twofold_server.modelling.paging import Page, page_of
from twofold_server.modelling.projection import Event, EventMetadata, Projection, Rows, stream_by
from twofold_server.modelling.query import AnyQuery, CoalescedQuery, HistoryQuery, Query, WatchQuery
from twofold_server.modelling.retention import Retention
from twofold_server.modelling.rule import Rule
from twofold_server.modelling.upcaster import Upcaster

__all__ = [
    "AnyQuery",
    "CoalescedQuery",
    "Context",
    "Decider",
    "Event",
    "EventMetadata",
    "Given",
    "HistoryQuery",
    "InvalidRequest",
    "Lookup",
    "NotFound",
    "Page",
    "Projection",
    "Query",
    "Rejected",
    "Retention",
    "Rows",
    "Rule",
    "Upcaster",
    "WatchQuery",
    "page_of",
    "stream_by",
]
