"""Appends for tests: whatever a test does not care about is filled in."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from twofold_server.event_store.appending import Append, Appended, AppendOutcome, Basis
from twofold_server.event_store.events import NewEvent, RecordedEvent
from twofold_server.event_store.expected_version import Any, ExpectedVersion
from twofold_server.event_store.store import EventStore
from twofold_server.modelling import EventMetadata

ORDER_CREATED = "shop.orders.v1.OrderCreated"
NOBODY = EventMetadata()


def new_id() -> str:
    """A UUID."""
    return str(uuid.uuid4())


def new_event(
    type_name: str = ORDER_CREATED,
    *,
    data: bytes = b"data",
    revision: int = 1,
    metadata: EventMetadata = NOBODY,
    event_id: str = "",
) -> NewEvent:
    """An event to be written."""
    return NewEvent(event_id or new_id(), type_name, revision, data, metadata)


def new_append(
    stream_name: str = "order-1",
    *,
    events: int | Sequence[NewEvent] = 1,
    expected: ExpectedVersion | None = None,
    respond: Callable[[int], bytes] = lambda position: b"stored at %d" % position,
    basis: Basis | None = None,
    request_id: str = "",
    request_hash: bytes = b"",
    only_check: bool = False,
) -> Append:
    """An append of some events; by default to whatever version the stream has."""
    return Append(
        stream_name=stream_name,
        expected=expected or Any(),
        events=[new_event() for _ in range(events)] if isinstance(events, int) else events,
        respond=respond,
        basis=basis or Basis(),
        request_id=request_id,
        request_hash=request_hash,
        only_check=only_check,
    )


def recorded(outcome: AppendOutcome) -> Sequence[RecordedEvent]:
    """The events of an accepted append."""
    assert isinstance(outcome, Appended), outcome
    return outcome.events


async def append(store: EventStore, stream_name: str = "order-1", **how: object) -> Sequence[RecordedEvent]:
    """Append to one stream; the events written."""
    [outcome] = await store.append([new_append(stream_name, **how)])  # type: ignore[arg-type]
    return recorded(outcome)
