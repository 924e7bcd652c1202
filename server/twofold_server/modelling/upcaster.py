"""How an event of an older revision is read today."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message


@dataclass(frozen=True, kw_only=True)
class Upcaster:
    """Turns an event, as it was stored, into the next revision, or into another type.

    Stored bytes never change: upcasters run whenever an event is read, one after the other, until the
    event is in today's revision of today's type. What a new message does not know of the old one (unknown
    fields) is carried over.
    """

    event: type[Message]
    """The type under which it is stored. Fields that only old revisions carry stay in the proto."""
    revision: int
    """The revision in which it is stored, from 1."""
    upcast: Callable[[Any], Message]
    """``old message -> new message``: pure. The old message is its own to change and to return."""
    into: type[Message] | None = None
    """The type that it becomes; by default it stays what it is, one revision on. A type is left from its
    last revision only; its message stays in the proto, and nothing writes it any more."""
    into_revision: int | None = None
    """With ``into``: the revision of that type that ``upcast`` returns; may be left out while that is 1."""
