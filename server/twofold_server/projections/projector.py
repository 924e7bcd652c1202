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
from twofold_server.projections.builds import live_of
from twofold_server.projections.checkpoints import Checkpoint
from twofold_server.projections.crew import Crew
from twofold_server.projections.fold import Fold
from twofold_server.projections.keeper import Keeper
from twofold_server.projections.loop import Pace, ProjectionLoop
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.pacing import paced
from twofold_server.projections.parking import Patience
from twofold_server.projections.rebuilding import Filling, Progress
from twofold_server.projections.redelivery import Redelivery
from twofold_server.projections.retention import Sweeper
from twofold_server.projections.schema import prepare
from twofold_server.projections.sources import Hints, StreamLog
from twofold_server.projections.status import BuildStatus, ProjectionStatus, State
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
        crew: Crew | None = None,
        alone: bool = True,
        read_size: int = 10_000,
    ) -> None:
        """``hints`` makes one source for each build; without a strategy a projection is eventual.

        With ``turns`` other projectors may stand by, or this one does; ``alone``: there are none. Without a
        ``crew`` a build beside is filled by one loop. Raises StartupError for a wrong projection.
        """
        _check_names(projections)
        self._database = database
        self._projections = projections
        self._strategies = {p.name: (strategies or {}).get(p.name, EVENTUAL) for p in projections}
        self._prepared = False
        self._why = "it has just begun"
        self._codec = codec
        self._log = log
        self._hints = hints
        self._notices = notices
        self._pace = pace or Pace()
        self._patience = patience or Patience()
        self._read_size = read_size
        self._crew = crew
        self._turns = turns
        self._alone = alone
        self._keepers = {projection.name: self._keeper(projection) for projection in projections}

    def _keeper(self, projection: Projection) -> Keeper:
        return Keeper(
            database=self._database,
            projection=projection,
            loop_of=partial(self._loop, projection),
            filling_of=partial(self._filling, projection),
            sweeper_of=_sweeper_of(projection),
            alone=self._alone,
        )

    def _loop(self, projection: Projection, build: int | None) -> ProjectionLoop:
        fold = Fold(database=self._database, projection=projection, codec=self._codec, build=build)
        # What nobody reads yet has no reason to wait.
        strategy = self._strategies[projection.name] if build is None else EVENTUAL
        return ProjectionLoop(
            fold=fold,
            log=self._log,
            hints=paced(self._hints(), strategy),
            notices=self._notices if build is None else ProgressNotices(None),
            pace=self._pace.allowing(strategy.delay),
            patience=self._patience,
            read_size=self._read_size,
            turns=self._turns if build is None else None,
        )

    def _filling(self, projection: Projection, build: Checkpoint) -> Filling:
        return Filling(
            database=self._database, projection=projection, build=build, crew=self._crew, log=self._log
        )

    @property
    def trouble(self) -> str:
        """Why this projector is not serving, in plain words; empty while it is."""
        if not self._prepared:
            return f"the read store is not ready: {self._why}"
        return "; ".join(filter(None, (keeper.trouble for keeper in self._keepers.values())))

    @property
    def keepers(self) -> Mapping[str, Keeper]:
        """What keeps each projection, by its name."""
        return self._keepers

    def redeliveries(self) -> dict[str, Redelivery]:
        """What can be done about dead letters, by projection."""
        return {name: keeper.loop.redelivery for name, keeper in self._keepers.items()}

    def fold_of(self, projection: str) -> Fold:
        """The fold that writes what queries read of a projection."""
        return self._keepers[projection].loop.fold

    async def status(self) -> list[ProjectionStatus]:
        """How each projection is; raises Unavailable."""
        if not self._prepared:
            return [
                ProjectionStatus(name=p.name, version=p.version, state=State.STARTING, trouble=self.trouble)
                for p in self._projections
            ]
        return [await self._status_of(projection) for projection in self._projections]

    async def _status_of(self, projection: Projection) -> ProjectionStatus:
        keeper = self._keepers[projection.name]
        known = await keeper.builds()
        live = live_of(known)
        if live is None:
            return ProjectionStatus(
                name=projection.name,
                version=projection.version,
                state=State.STARTING,
                trouble=keeper.trouble,
                builds=[_build(each, keeper.progress) for each in known],
            )
        head = max(live.head, keeper.loop.head)
        return ProjectionStatus(
            name=projection.name,
            version=projection.version,
            state=_state(keeper, behind=head > live.position),
            position=live.position,
            head=head,
            recorded_at=live.recorded_at,
            trouble=keeper.trouble,
            sync=str(self._strategies[projection.name]),
            dead_letters=await keeper.loop.redelivery.count(),
            builds=[_build(each, keeper.progress) for each in known],
        )

    async def run(self) -> None:
        """Until cancelled; a batch under way is finished first.

        Raises StartupError where it cannot go on: a newer schema, another log, or, without turns, a newer
        projector (TakenOver).
        """
        await self._prepare()
        try:
            async with asyncio.TaskGroup() as group:
                for keeper in self._keepers.values():
                    group.create_task(keeper.run())
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


def _sweeper_of(projection: Projection) -> Callable[[Fold], Sweeper] | None:
    retention = projection.retention
    return None if retention is None else lambda fold: Sweeper(fold, retention)


def _build(stored: Checkpoint, progress: Progress | None) -> BuildStatus:
    mine = progress if progress is not None and progress.build == stored.build else None
    return BuildStatus(
        build=stored.build,
        version=stored.version,
        state=stored.state,
        position=max(stored.position, mine.position) if mine else stored.position,
        created_at=stored.created_at,
        trouble=mine.trouble if mine else "",
    )


def _state(keeper: Keeper, *, behind: bool) -> State:
    if keeper.loop.stands_by:
        return State.STANDBY
    if keeper.trouble:
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
