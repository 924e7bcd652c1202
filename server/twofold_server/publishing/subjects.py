"""Where events are published: ``twofold.events.<partition>.<context>.<EventName>``.

The partition (0 … 15) is a stable hash of the stream name, so a consumer that takes a partition sees every
event of its aggregates in order. The context is the proto package with ``-`` for each dot, which no package
name contains, so that each part is one NATS token and wildcards work: ``twofold.events.*.shop-orders-v1.>``
is one context, ``twofold.events.*.*.OrderCreated`` one kind of event, ``twofold.events.7.>`` one partition.
"""

from __future__ import annotations

from functools import lru_cache

from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.filters import partition_of

PREFIX = "twofold.events"
"""The first tokens of every event's subject."""
ALL_EVENTS = f"{PREFIX}.>"
"""The subjects of the stream."""
HEAD = "twofold.head"
"""Core NATS: the log's last position, told after each commit as {"log_id": …, "position": …}."""


def subject_of(event: RecordedEvent) -> str:
    """The subject of an event."""
    return f"{PREFIX}.{partition_of(event.stream_name)}.{_kind(event.type_name)}"


@lru_cache(maxsize=4096)
def _kind(type_name: str) -> str:
    package, _, name = type_name.rpartition(".")
    return f"{package.replace('.', '-') or '-'}.{name}"
