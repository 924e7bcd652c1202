"""How much a drill does: little in `make test`, the whole programme with TWOFOLD_DRILL=full."""

from __future__ import annotations

import os
from dataclasses import dataclass

FULL = os.environ.get("TWOFOLD_DRILL") == "full"


@dataclass(frozen=True)
class Scale:
    """The counts of one drill."""

    rounds: int
    """Times that something is killed."""
    callers: int
    """Callers at the same time."""
    accepted_a_round: int
    """Commands that are accepted between two blows, at least."""
    reads: int
    """Reads that must not be stale."""


SCALE = Scale(24, 12, 1500, 2000) if FULL else Scale(3, 6, 300, 200)
SECONDS = 3000 if FULL else 600
"""What a drill may take in all."""
