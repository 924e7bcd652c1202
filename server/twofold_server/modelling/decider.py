"""The write model of one aggregate: three pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Given:
    """What a decision may know beside the command and the state."""

    now: datetime
    """The time of the decision, in UTC."""
    command_id: str
    """Unique to this command, a UUID: a base for ids that a decision needs."""


@dataclass(frozen=True, kw_only=True)
class Decider(Generic[S]):
    """Decides commands of one kind of aggregate; the pattern is Jérémie Chassaing's.

    All functions are pure: no clock, no ids, no I/O. ``S`` is an immutable state, best a frozen
    dataclass of plain values.
    """

    category: str
    """The first part of the stream's name: ``order`` gives ``order-<id>``. Stored on disk."""
    initial_state: Callable[[], S]
    """The state of an aggregate to which nothing has happened."""
    decide: Mapping[type[Message], Callable[[Any, S, Given], Sequence[Message]]]
    """For each command (request type): ``(command, state, given) -> events``, or raises Rejected."""
    evolve: Mapping[type[Message], Callable[[S, Any], S]]
    """For each event type: ``(state, event) -> state``."""
    state_revision: int = 1
    """Raised when the shape or the meaning of the state changes: older snapshots are then passed over."""
    snapshot_every: int | None = None
    """A snapshot of the state is stored each time so many events have come; 1 keeps the current state
    stored, 0 stores none. By default what the settings say."""
