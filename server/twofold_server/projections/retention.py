"""Old rows go: in small transactions, under the fence of the projector that writes the read model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection, Table, delete, select, tuple_

from twofold_server.errors import StartupError, Unavailable
from twofold_server.messages.events import time_of
from twofold_server.modelling import Projection
from twofold_server.modelling.retention import Retention
from twofold_server.projections.checkpoints import TakenOver
from twofold_server.projections.fold import Fold

SETTING = "TWOFOLD_RETENTION"
BATCH = 500
"""Rows that one transaction deletes."""
PAUSE_SECONDS = 0.05
"""Between two of these, so that events are applied and queries answered meanwhile."""
EVERY_SECONDS = 300.0
"""How often is looked for old rows."""


def with_retention(projections: Sequence[Projection], setting: Mapping[str, float]) -> list[Projection]:
    """Projections that keep rows as long as the setting says, in days, 0 for ever; raises StartupError."""
    known = {p.name: p for p in projections if p.retention is not None}
    for name in setting:
        if name not in known:
            there_are = ", ".join(sorted(known)) or "none"
            raise StartupError(
                f"{SETTING} names the projection {name}; those that let old rows go are: {there_are}"
            )
    return [_kept(p, setting[p.name]) if p.name in setting else p for p in projections]


def _kept(projection: Projection, days: float) -> Projection:
    if not days or projection.retention is None:
        return replace(projection, retention=None)
    return replace(projection, retention=replace(projection.retention, keep=timedelta(days=days)))


class Sweeper:
    """Deletes the old rows of one projection.

    How old a row is, is told by the log's time, never by a clock that may be ahead of it: while a read
    model is built anew from old events, rows live as long as they would have lived then.
    """

    def __init__(self, fold: Fold, retention: Retention, *, clock: Callable[[], float] = time.time) -> None:
        self._fold = fold
        self._retention = retention
        self._clock = clock
        self._logger = structlog.get_logger().bind(projection=fold.name)

    async def run(self) -> None:
        """Until cancelled; where another projector has taken over, that one does it."""
        while True:
            if self._fold.is_mine:
                with suppress(TakenOver):
                    await self._try()
            await asyncio.sleep(EVERY_SECONDS if self._fold.is_mine else PAUSE_SECONDS)

    async def _try(self) -> None:
        try:
            deleted = await self.sweep()
        except Unavailable as error:
            self._logger.warning("old rows are kept for now", why=error.message)
        else:
            if deleted:
                self._logger.info("old rows deleted", rows=deleted)

    async def sweep(self) -> int:
        """Delete what is old now; how many rows that were. Raises TakenOver, Unavailable."""
        return sum([await self._sweep(table) for table in self._retention.tables])

    async def _sweep(self, table: type[Any]) -> int:
        total = 0
        while True:
            async with self._fold.still() as checkpoint:
                now = min(time_of(checkpoint.recorded_at), datetime.fromtimestamp(self._clock(), UTC))
                attribute, value = self._retention.first_kept(table, now) or ("", 0)
                work = partial(_delete_some, self._fold.table(table), attribute, value)
                # A transaction that finds nothing is not worth a new epoch, which empties caches.
                if not await self._fold.read(partial(_has_some, self._fold.table(table), attribute, value)):
                    return total
                total += await self._fold.rewrite(work)
            await asyncio.sleep(PAUSE_SECONDS)


def _has_some(table: Table, attribute: str, value: int, connection: Connection) -> bool:
    column = table.c[attribute]
    return connection.execute(select(column).where(column < value).limit(1)).first() is not None


def _delete_some(table: Table, attribute: str, value: int, connection: Connection) -> int:
    key = list(table.primary_key)
    oldest = select(*key).where(table.c[attribute] < value).order_by(*key).limit(BATCH)
    same = tuple_(*key).in_(oldest) if len(key) > 1 else key[0].in_(oldest)
    return connection.execute(delete(table).where(same)).rowcount
