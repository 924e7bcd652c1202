"""What a read transaction saw: answers, and how far the read model was at that very moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection


class Checkpoint(Protocol):
    """How far a projection is, as the projector wrote it in the transaction of the rows."""

    @property
    def log_id(self) -> str:
        """The id of the log."""

    @property
    def version(self) -> int:
        """The version of the projection that filled the tables."""

    @property
    def epoch(self) -> int:
        """Which projector filled them last, or rewrote them."""

    @property
    def created_at(self) -> int:
        """When the build was begun, in microseconds since 1970 UTC."""

    @property
    def position(self) -> int:
        """The position of the last event that was applied."""

    @property
    def recorded_at(self) -> int:
        """When that event was committed, in microseconds since 1970 UTC; 0 for none."""

    @property
    def head(self) -> int:
        """The position of the log's last event, as far as the projector knew."""

    @property
    def parked(self) -> int:
        """How many keys have dead letters, so that their rows are behind."""


ReadCheckpoint = Callable[[Connection, str], Checkpoint | None]
"""From a connection and the name of a projection to its checkpoint; None before there is one."""
