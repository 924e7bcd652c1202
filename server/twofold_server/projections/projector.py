"""The projector: every projection kept up to date, each by a loop of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from twofold_server.database import Database
from twofold_server.database.turns import Turns
from twofold_server.errors import StartupError, Unavailable
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Projection
from twofold_server.projections.checkpoints import read_checkpoint
from twofold_server.projections.fold import Fold
from twofold_server.projections.loop import Pace, ProjectionLoop
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.pacing import paced
from twofold_server.projections.parking import Patience
from twofold_server.projections.redelivery import Redelivery
from twofold_server.projections.retention import Sweeper
from twofold_server.projections.schema import prepare
from twofold_server.projections.sources import Hints, StreamLog
from twofold_server.projections.status import BuildState, BuildStatus, ProjectionStatus, State
from twofold_server.projections.strategies import EVENTUAL, Strategy

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
        log: StreamLog,
        hints: Callable[[], Hints],
        notices: ProgressNotices,
        pace: Pace | None = None,
        patience: Patience | None = None,
        strategies: Mapping[str, Strategy] | None = None,
        turns: Turns | None = None,
        read_size: int = 10_000,
    ) -> None:
        """``hints`` makes one source for each projection; without a strategy one is eventual.

        With ``turns`` other projectors may stand by, or this one does. Raises StartupError for a wrong
        projection.
        """
        _check_names(projections)
        self._database = database
        self._projections = projections
        self._strategies = {p.name: (strategies or {}).get(p.name, EVENTUAL) for p in projections}
        self._prepared = False
        self._why = "it has just begun"
        self._loops = {
            projection.name: ProjectionLoop(
                fold=Fold(database=database, projection=projection, codec=codec),
                log=log,
                hints=paced(hints(), self._strategies[projection.name]),
                notices=notices,
                pace=(pace or Pace()).allowing(self._strategies[projection.name].delay),
                patience=patience or Patience(),
                read_size=read_size,
                turns=turns,
            )
            for projection in projections
        }

        self._sweepers = [
            Sweeper(self.fold_of(projection.name), projection.retention)
            for projection in projections
            if projection.retention is not None
        ]

    @property
    def trouble(self) -> str:
        """Why this projector is not serving, in plain words; empty while it is."""
        if not self._prepared:
            return f"the read store is not ready: {self._why}"
        return "; ".join(filter(None, (loop.trouble for loop in self._loops.values())))

    def redeliveries(self) -> dict[str, Redelivery]:
        """What can be done about dead letters, by projection."""
        return {name: loop.redelivery for name, loop in self._loops.items()}

    def fold_of(self, projection: str) -> Fold:
        """The fold that writes what queries read of a projection."""
        return self._loops[projection].fold

    async def status(self) -> list[ProjectionStatus]:
        """How each projection is; raises Unavailable."""
        if not self._prepared:
            return [
                ProjectionStatus(name=p.name, version=p.version, state=State.STARTING, trouble=self.trouble)
                for p in self._projections
            ]
        return [await self._status_of(projection) for projection in self._projections]

    async def _status_of(self, projection: Projection) -> ProjectionStatus:
        loop = self._loops[projection.name]
        found = await self._database.read(partial(read_checkpoint, projection=projection.name))
        if found is None:
            return ProjectionStatus(
                name=projection.name, version=projection.version, state=State.STARTING, trouble=loop.trouble
            )
        head = max(found.head, loop.head)
        return ProjectionStatus(
            name=projection.name,
            version=projection.version,
            state=_state(loop, behind=head > found.position),
            position=found.position,
            head=head,
            recorded_at=found.recorded_at,
            trouble=loop.trouble,
            sync=str(self._strategies[projection.name]),
            dead_letters=await loop.redelivery.count(),
            builds=[
                BuildStatus(
                    build=1,
                    version=found.version,
                    state=BuildState.LIVE,
                    position=found.position,
                    created_at=0,
                )
            ],
        )

    async def run(self) -> None:
        """Until cancelled; a batch under way is finished first.

        Raises StartupError where it cannot go on: a newer schema, another log, or, without turns, a newer
        projector (TakenOver).
        """
        await self._prepare()
        try:
            async with asyncio.TaskGroup() as group:
                for loop in self._loops.values():
                    group.create_task(loop.run())
                for sweeper in self._sweepers:
                    group.create_task(sweeper.run())
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


def _state(loop: ProjectionLoop, *, behind: bool) -> State:
    if loop.stands_by:
        return State.STANDBY
    if loop.trouble:
        return State.HELD_UP
    return State.CATCHING_UP if behind else State.LEVEL


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
