"""How projections are, as an operator sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How a projection is."""

    STARTING = "starting"
    """It has not begun yet."""
    CATCHING_UP = "catching up"
    """It applies events, and is behind the log."""
    LEVEL = "level"
    """It has applied every event of the log."""
    HELD_UP = "held up"
    """It makes no progress."""
    STANDBY = "standby"
    """Another projector writes it."""


class BuildState(Enum):
    """What a build is for. The values are on disk."""

    LIVE = "live"
    """Queries read it."""
    BUILDING = "building"
    """It is being built beside, or waits to be switched to."""
    KEPT = "kept"
    """Queries read it once; nobody writes it any more."""


@dataclass(frozen=True, kw_only=True)
class BuildStatus:
    """One set of tables of a projection."""

    build: int
    """Its number."""
    version: int
    """The version of the projection that fills it."""
    state: BuildState
    """What it is for."""
    position: int
    """The position of the last event that it has applied."""
    created_at: int
    """When it was begun, in microseconds since 1970 UTC."""
    trouble: str = ""
    """Why it does not go on; empty while it does."""


@dataclass(frozen=True, kw_only=True)
class ProjectionStatus:
    """One projection."""

    name: str
    """Its name."""
    version: int
    """The version of its code in this process."""
    state: State
    """How it is."""
    position: int = 0
    """The position of the last event that the live build has applied."""
    head: int = 0
    """The last position of the log, as far as is known."""
    recorded_at: int = 0
    """When the event at ``position`` was committed, in microseconds since 1970 UTC; 0 for none."""
    trouble: str = ""
    """Why it is not being kept up to date; empty while it is."""
    sync: str = "eventual"
    """When it is brought up to date."""
    builds: Sequence[BuildStatus] = ()
    """Its builds, by number."""
    dead_letters: int = 0
    """How many of its events are parked."""

    @property
    def live_build(self) -> int:
        """The number of the build that queries read; 0 before there is one."""
        return next((each.build for each in self.builds if each.state is BuildState.LIVE), 0)
