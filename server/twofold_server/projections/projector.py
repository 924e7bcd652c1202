"""The projector: every projection kept up to date, each by a loop of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from twofold_server.database import Database
from twofold_server.errors import StartupError, Unavailable
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Projection
from twofold_server.projections.fold import Fold
from twofold_server.projections.loop import Pace, ProjectionLoop
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.schema import prepare
from twofold_server.projections.sources import EventLog, Hints

HEALTH_NAME = "twofold.projector"
"""The name of the projector in the health service."""
_IS_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}").fullmatch


class Projector:
    """Runs projections against one read store, which it alone writes."""

    def __init__(
        self,
        *,
        database: Database,
        projections: Sequence[Projection],
        codec: EventCodec,
        log: EventLog,
        hints: Callable[[], Hints],
        notices: ProgressNotices,
        pace: Pace | None = None,
        read_size: int = 10_000,
    ) -> None:
        """``hints`` makes one source for each projection. Raises StartupError for a wrong projection."""
        _check_names(projections)
        self._database = database
        self._projections = projections
        self._prepared = False
        self._why = "it has just begun"
        self._loops = [
            ProjectionLoop(
                fold=Fold(database=database, projection=projection, codec=codec),
                log=log,
                hints=hints(),
                notices=notices,
                pace=pace or Pace(),
                read_size=read_size,
            )
            for projection in projections
        ]

    @property
    def trouble(self) -> str:
        """Why this projector is not serving, in plain words; empty while it is."""
        if not self._prepared:
            return f"the read store is not ready: {self._why}"
        return "; ".join(filter(None, (loop.trouble for loop in self._loops)))

    async def run(self) -> None:
        """Until cancelled; a batch under way is finished first.

        Raises StartupError where it cannot go on: a newer schema, another log, or (TakenOver) a newer
        projector.
        """
        await self._prepare()
        try:
            async with asyncio.TaskGroup() as group:
                for loop in self._loops:
                    group.create_task(loop.run())
        except* StartupError as errors:
            raise _first(errors) from None

    async def _prepare(self) -> None:
        logger = structlog.get_logger().bind()
        while True:
            try:
                await self._database.write(partial(prepare, projections=self._projections), patient=True)
            except Unavailable as error:
                self._why = error.message
                logger.warning("read store not ready", why=self._why)
                await asyncio.sleep(1)
            else:
                self._prepared = True
                return


def _check_names(projections: Sequence[Projection]) -> None:
    names = [projection.name for projection in projections]
    for name in names:
        if not _IS_NAME(name):
            raise StartupError(
                f"the name of projection {name!r} must be small letters, digits and underscores"
            )
        if names.count(name) > 1:
            raise StartupError(f"two projections are named {name}; rename one")


def _first(errors: ExceptionGroup[StartupError]) -> StartupError:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error
