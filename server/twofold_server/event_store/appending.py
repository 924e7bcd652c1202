"""One batch of appends, planned: the rules that every backend keeps, without any I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from twofold_server.event_store.events import NewEvent, RecordedEvent
from twofold_server.event_store.expected_version import ExpectedVersion, holds


class StoredResponse(Struct, frozen=True):
    """What was answered to a request id."""

    request_hash: bytes
    """A hash of the request, so that another one under the same id is told."""
    response: bytes
    """The response, serialized."""


@dataclass(slots=True)
class Basis:
    """What decisions stand on: the state of a stream, with events that are not committed yet.

    When one of these events turns out not to be committed, all that was decided after it is void. The
    stream's version alone would not tell: another writer's event may have taken the same version.
    """

    broken: bool = False


class Append(Struct, frozen=True):
    """Events of one command for one stream, all or nothing."""

    stream_name: str
    """The stream."""
    expected: ExpectedVersion
    """What the decision was made on."""
    events: Sequence[NewEvent]
    """At least one, unless only a response is to be stored."""
    respond: Callable[[int], bytes]
    """From the position of the last event (without events: the end of the log) to the response."""
    basis: Basis = msgspec.field(default_factory=Basis)
    """What the decision stands on; shared by the decisions that build on each other."""
    request_id: str = ""
    """The caller's request id, a UUID in small letters; empty: nothing is stored for a replay."""
    request_hash: bytes = b""
    """The hash of the request."""
    only_check: bool = False
    """Whether nothing is stored, not even the response: the outcome alone is wanted. There are no events."""


class Appended(Struct, frozen=True):
    """The events are in the log."""

    events: Sequence[RecordedEvent]
    response: bytes


class Conflict(Struct, frozen=True):
    """The stream is at another version than expected; nothing was written."""

    actual: int


class Replay(Struct, frozen=True):
    """The request id was answered before; nothing was written."""

    stored: StoredResponse


AppendOutcome = Appended | Conflict | Replay


@dataclass(slots=True)
class AppendPlan:
    """What a batch comes to: an outcome for each append, and what must be written for it."""

    head: int
    """The position of the log's last event, after the batch."""
    outcomes: list[AppendOutcome] = field(default_factory=list)
    events: list[RecordedEvent] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    """The new version of each stream that got events."""
    responses: dict[str, StoredResponse] = field(default_factory=dict)
    """The response to store under each request id."""


def plan_append(
    batch: Sequence[Append],
    *,
    head: int,
    versions: Mapping[str, int],
    responses: Mapping[str, StoredResponse],
    recorded_at: int,
) -> AppendPlan:
    """Decide each append of a batch in order, on what the log holds under its lock.

    ``versions`` and ``responses`` hold what exists of the batch's streams and request ids.
    """
    plan = AppendPlan(head=head)
    for append in batch:
        known = plan.responses.get(append.request_id) or responses.get(append.request_id)
        actual = plan.versions.get(append.stream_name) or versions.get(append.stream_name, 0)
        if known is None and not append.basis.broken and holds(append.expected, actual):
            plan.outcomes.append(_accept(append, plan, actual, recorded_at))
        else:
            if known is None or not append.only_check:
                append.basis.broken = True
            plan.outcomes.append(Conflict(actual) if known is None else Replay(known))
    return plan


def _accept(append: Append, plan: AppendPlan, actual: int, recorded_at: int) -> Appended:
    recorded = [
        RecordedEvent(
            plan.head + n,
            append.stream_name,
            actual + n,
            new.event_id,
            new.type_name,
            new.revision,
            new.data,
            new.metadata,
            recorded_at,
        )
        for n, new in enumerate(append.events, start=1)
    ]
    if recorded:
        plan.head += len(recorded)
        plan.events += recorded
        plan.versions[append.stream_name] = actual + len(recorded)
    response = append.respond(plan.head)
    if append.request_id and not append.only_check:
        plan.responses[append.request_id] = StoredResponse(append.request_hash, response)
    return Appended(recorded, response)
