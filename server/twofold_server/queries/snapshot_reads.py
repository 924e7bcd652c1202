"""Reads of the read store, each in one snapshot together with how far the projection is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from twofold_server.errors import Unavailable
from twofold_server.queries.positions import Position, Positions
from twofold_server.queries.read_store import ReadStore
from twofold_server.queries.snapshots import Checkpoint, ReadCheckpoint

A = TypeVar("A")


class SnapshotReads:
    """Reads answers, and lets ``positions`` know what each snapshot saw."""

    def __init__(self, *, store: ReadStore, positions: Positions, read_checkpoint: ReadCheckpoint) -> None:
        self._store = store
        self._positions = positions
        self._read_checkpoint = read_checkpoint

    async def begun(self, projection: str) -> Position:
        """What is known of a projection; raises Unavailable where it has not begun."""
        known = self._positions[projection]
        if not known.log_id:
            await known.look()
        if not known.log_id:
            raise _not_begun(projection)
        return known

    async def read(
        self,
        projection: str,
        answer_all: Callable[[Sequence[Any], Connection], Sequence[A]],
        requests: Sequence[Any],
    ) -> tuple[Checkpoint, Position, Sequence[A]]:
        """An answer for each request, and how far the projection is; raises Unavailable."""
        known = self._positions[projection]
        known_before = known.position
        work = partial(_in_snapshot, self._read_checkpoint, projection, answer_all, requests)
        checkpoint, answers = await self._store.read(work)
        if checkpoint is None:
            raise _not_begun(projection)
        known.saw(checkpoint, known_before=known_before)
        return checkpoint, known, answers


def _in_snapshot(
    read_checkpoint: ReadCheckpoint,
    projection: str,
    answer_all: Callable[[Sequence[Any], Connection], Sequence[A]],
    requests: Sequence[Any],
    connection: Connection,
) -> tuple[Checkpoint | None, Sequence[A]]:
    checkpoint = read_checkpoint(connection, projection)
    return checkpoint, answer_all(requests, connection) if checkpoint is not None else ()


def _not_begun(projection: str) -> Unavailable:
    return Unavailable(
        f"projection {projection} has not begun yet; start a projector, or retry shortly",
        reason="PROJECTION_NOT_STARTED",
        metadata={"projection": projection},
    )
