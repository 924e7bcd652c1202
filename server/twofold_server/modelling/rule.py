"""What must hold between read models, and between them and the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What `twofold projections verify` checks with all the read models of it at one position of the log."""

    name: str
    """What it is called where it does not hold, for example ``as many rows as orders``."""
    projections: Sequence[str]
    """The names of the read models that it reads."""
    counts: Sequence[type[Message]] = ()
    """The event types of which it wants to know how many the log has up to that position."""
    pairs: Callable[[Any, Mapping[type[Message], int]], Mapping[str, tuple[Any, Any]]]
    """``(connection, counts) -> {what: (expected, stored)}``: pairs that must be equal, each under a few
    words that say what it is. Pure; reads through a SQLAlchemy ``Connection`` in one snapshot."""
