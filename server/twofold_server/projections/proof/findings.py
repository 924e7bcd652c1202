"""What a proof tells while it runs, and at its end."""

from __future__ import annotations

from dataclasses import dataclass, field

from twofold_server.projections.proof.differences import Difference
from twofold_server.projections.proof.shapes import Key, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a proof is."""

    position: int = 0
    """The position up to which the log was folded; 0 where only single streams are."""
    head: int = 0
    """The position up to which it is going to be folded."""
    checked: int = 0
    """Rows that were compared."""
    total: int = 0
    """Rows that are to be compared, about; 0 while that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The end of a proof."""

    position: int
    """Where the read model stood when it began."""
    rows: int
    """Rows that were compared, missing ones included."""
    differences: int
    """Rows that differed, and rules that did not hold."""
    repaired: int
    """Rows that were written anew."""
    rules: int = 0
    """Rules that were checked."""
    rules_held: tuple[str, ...] = ()
    """Those of them that hold, by name."""
    passed_over: tuple[str, ...] = ()
    """What was not checked, and why, in plain words."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of one table that were compared."""

    shape: Shape
    """The table."""
    rows: int
    """How many there were."""
    differences: dict[Key, Difference] = field(default_factory=dict)
    """Those that differ, by key."""


Finding = Progress | Difference | Summary
"""The summary comes last."""
