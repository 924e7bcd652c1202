"""One projection kept: the loop of the build that queries read, and the build beside it, if there is one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog

from twofold_server.database import Database
from twofold_server.errors import Rejected, Unavailable
from twofold_server.modelling import Projection
from twofold_server.projections import builds
from twofold_server.projections.builds import NotLevel, building_of, last_live_of, live_of
from twofold_server.projections.checkpoints import Checkpoint, OtherVersion, TakenOver, read_builds
from twofold_server.projections.claims import Claim
from twofold_server.projections.fold import Fold
from twofold_server.projections.levelling import Levelling, switched_to
from twofold_server.projections.loop import ProjectionLoop
from twofold_server.projections.parts import read_parts
from twofold_server.projections.rebuilding import Filling, Phase, Plan, Progress
from twofold_server.projections.retention import Sweeper
from twofold_server.projections.status import BuildState
from twofold_server.projections.switching import switch_patiently

LOOK_SECONDS = 1.0
"""How often the builds are looked at while nothing is known to have changed."""
TELL_SECONDS = 0.25
"""How often progress is told."""
LEVEL_SECONDS = 0.02
"""How often a build that is to be switched to is looked at."""
LEVELLING_SECONDS = 20.0
"""How long the live build may wait for the one beside before a switch, until that is tried again."""


class Keeper:
    """Keeps one projection, until cancelled."""

    def __init__(
        self,
        *,
        database: Database,
        projection: Projection,
        loop_of: Callable[[int | None], ProjectionLoop],
        filling_of: Callable[[Checkpoint], Filling],
        sweeper_of: Callable[[Fold], Sweeper] | None = None,
        alone: bool,
    ) -> None:
        """``loop_of`` makes the loop of a build (None: the live one), ``filling_of`` what fills one anew,
        ``sweeper_of`` what deletes old rows of the live one.

        ``alone``: no other projector can be at work on the same read store.
        """
        self._database = database
        self._projection = projection
        self._loop_of = loop_of
        self._filling_of = filling_of
        self._sweeper_of = sweeper_of
        self._live = loop_of(None)
        self._live_task: asyncio.Task[None] | None = None
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._held = ""
        self._beside: asyncio.Task[None] | None = None
        self._progress: Callable[[], Progress] | None = None
        self._wake = asyncio.Event()
        self._changing = asyncio.Lock()
        self._claim = Claim(everything=alone)
        self._logger = structlog.get_logger().bind(projection=projection.name)

    @property
    def loop(self) -> ProjectionLoop:
        """The loop of the build that queries read."""
        return self._live

    @property
    def trouble(self) -> str:
        """Why the live build is not kept up to date; empty while it is, or while its successor is made."""
        return self._held if self._held or self._is_upgrading else self._live.trouble

    @property
    def progress(self) -> Progress | None:
        """How far the build beside is; None where none is being built by this process."""
        return self._progress() if self._progress is not None else None

    async def builds(self) -> list[Checkpoint]:
        """What is stored of all builds; raises Unavailable."""
        return await self._database.read(partial(read_builds, projection=self._projection.name))

    async def run(self) -> None:
        """Raises StartupError where it cannot go on."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_live())
            group.create_task(self._keep_beside())

    # --- the live build -----------------------------------------------------------------------------

    async def _keep_live(self) -> None:
        while True:
            await self._may_run.wait()
            if not await self._is_mine_to_feed():
                await self._pause()
                continue
            self._live = self._loop_of(None)
            await self._run_live()

    async def _run_live(self) -> None:
        task = self._live_task = asyncio.create_task(self._live.run())
        sweeping = asyncio.create_task(self._sweep(self._live.fold))
        try:
            await asyncio.wait([task, sweeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(sweeping)
            await _ended(task)
        if not sweeping.cancelled():
            sweeping.result()
        if task.cancelled():
            return  # for the time of a switch
        error = task.exception()
        if isinstance(error, OtherVersion) or (isinstance(error, TakenOver) and await self._was_switched()):
            return
        if error is not None:
            raise error

    async def _sweep(self, fold: Fold) -> None:
        if self._sweeper_of is not None:
            await self._sweeper_of(fold).run()
        else:
            await asyncio.Event().wait()

    async def _is_mine_to_feed(self) -> bool:
        """Whether this version can write the live build; sets what holds it up."""
        try:
            live = live_of(await self.builds())
        except Unavailable:
            return True  # the loop finds out, and tells
        version = self._projection.version
        if live is None or live.version == version:
            self._held = ""
            return True
        self._held = "" if self._is_upgrading else _other_version(live, version)
        return False

    @property
    def _is_upgrading(self) -> bool:
        return self._beside is not None and not self._beside.done() and self._live_task is None

    async def _was_switched(self) -> bool:
        """Whether the live build is another one now: then its loop begins anew."""
        with contextlib.suppress(Unavailable):
            live = live_of(await self.builds())
            return live is not None and self._live.build not in (0, live.build)
        return True

    @asynccontextmanager
    async def _live_pauses(self) -> AsyncIterator[None]:
        self._may_run.clear()
        try:
            if self._live_task is not None:
                await _ended(self._live_task)
            yield
        finally:
            self._may_run.set()

    # --- the build beside -----------------------------------------------------------------------------

    async def _keep_beside(self) -> None:
        while True:
            try:
                if (building := await self._to_build()) is not None:
                    self._beside = asyncio.create_task(self._build(building))
                    try:
                        await asyncio.wait([self._beside])
                    finally:
                        await _ended(self._beside)
                        self._progress = None
                    if not self._beside.cancelled():
                        self._beside.result()
            except (Unavailable, TakenOver, Rejected) as error:
                self._logger.warning("build beside held up", why=str(error))
                if isinstance(error, TakenOver):
                    self._claim.lost()
            await self._pause()

    async def _to_build(self) -> Checkpoint | None:
        """The build that this process has to go on with, or to begin because its code is newer."""
        known = await self.builds()
        live, building, version = live_of(known), building_of(known), self._projection.version
        if building is not None and building.version == version:
            parts = await self._database.read(
                partial(read_parts, projection=self._projection.name, build=building.build)
            )
            return building if self._claim.allows(building, parts) else None
        if live is None or live.version >= version or any(each.version == version for each in known):
            return None  # one of this version that is kept was left on purpose
        if building is not None and building.version < version:
            await self._drop(building.build)
        self._logger.info("a newer version is built beside", live=live.version, version=version)
        return await self._begin(live.log_id, Plan())

    async def _begin(self, log_id: str, plan: Plan) -> Checkpoint:
        begin = partial(builds.begin, projection=self._projection, log_id=log_id, plan=plan.stored())
        begun = await self._database.write(begin, patient=True)
        self._claim.mine(begun)
        return begun

    async def _build(self, build: Checkpoint) -> None:
        plan = Plan.read(build.plan)
        filling = self._filling_of(build)
        self._progress = filling.progress
        self._logger.info("building beside", build=build.build, position=build.position)
        await filling.run()
        while True:
            loop = self._loop_of(build.build)
            levelling = Levelling(build.build, loop, waits=not plan.switch)
            self._progress = levelling.progress
            task = asyncio.create_task(loop.run())
            try:
                await self._until_level(levelling, task)
                if not plan.switch:
                    await asyncio.wait([task])
                    task.result()
                if await self._switch_to(build.build, loop, task):
                    levelling.switched = True
                    return
            finally:
                await _ended(task)

    async def _until_level(self, levelling: Levelling, task: asyncio.Task[None]) -> None:
        while not levelling.is_level:
            await asyncio.wait([task], timeout=LEVEL_SECONDS)
            if task.done():
                task.result()

    async def _switch_to(self, build: int, loop: ProjectionLoop, task: asyncio.Task[None]) -> bool:
        """Stop the live loop, let the build pass it, and switch; False where that did not work out."""
        async with self._changing, self._live_pauses():
            give_up = time.monotonic() + LEVELLING_SECONDS
            while not await self._has_passed(loop) and time.monotonic() < give_up:  # noqa: ASYNC110
                await asyncio.sleep(LEVEL_SECONDS)
            await _ended(task)
            try:
                await switch_patiently(self._database, self._projection.name, build)
            except (NotLevel, Unavailable) as error:
                self._logger.warning("not switched", build=build, why=str(error))
                return False
            self._logger.info("switched", build=build, position=loop.position)
            return True

    async def _has_passed(self, loop: ProjectionLoop) -> bool:
        live = live_of(await self.builds())
        return live is None or loop.position >= live.position

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        self._wake.clear()

    # --- what an operator asks for ----------------------------------------------------------------------

    async def rebuild(self, plan: Plan) -> AsyncIterator[Progress]:
        """Build anew, or follow the build that is under way; progress until it is done."""
        async with self._changing:
            known = await self.builds()
            building, live = building_of(known), live_of(known)
            if live is None:
                raise Unavailable(
                    f"projection {self._projection.name} has not begun yet; retry shortly",
                    reason="PROJECTION_NOT_STARTED",
                )
            if building is not None and building.version != self._projection.version:
                raise builds.under_way(building)
            if building is None:
                building = await self._begin(live.log_id, plan)
                self._wake.set()
        async for progress in self._followed(building.build, Plan.read(building.plan)):
            yield progress

    async def switch(self, build: int) -> None:
        """Bring a build level and switch to it; 0 is the one that is being built, or the newest kept one."""
        known = await self.builds()
        wanted = build or self._default(known)
        await self._bring_level(wanted)

    async def rollback(self, *, at_once: bool) -> None:
        """Switch to the build that was live before."""
        known = await self.builds()
        last = last_live_of(known)
        if last is None:
            raise Rejected("NO_KEPT_BUILD", f"no earlier build of {self._projection.name} was kept")
        if at_once or last.version != self._projection.version:
            async with self._changing, self._live_pauses():
                await switch_patiently(self._database, self._projection.name, last.build, behind=True)
            self._logger.warning("rolled back", build=last.build, position=last.position)
        else:
            await self._bring_level(last.build)

    async def drop(self, build: int) -> list[int]:
        """Delete a build, or with 0 all that queries do not read; the numbers of those deleted."""
        known = await self.builds()
        live = live_of(known)
        kept = [each.build for each in known if live is None or each.build != live.build]
        async with self._changing:
            for each in [build] if build else kept:
                await self._drop(each)
        return [build] if build else kept

    async def _drop(self, build: int) -> None:
        progress = self.progress
        if self._beside is not None and progress is not None and progress.build == build:
            await _ended(self._beside)
        await self._database.write(
            partial(builds.drop, projection=self._projection.name, build=build), patient=True
        )
        self._logger.info("build dropped", build=build)

    async def _bring_level(self, build: int) -> None:
        async with self._changing:
            found = next((each for each in await self.builds() if each.build == build), None)
            if found is not None and found.version != self._projection.version:
                raise Rejected(
                    "OTHER_VERSION",
                    f"build {build} was built by version {found.version} of {self._projection.name}, this "
                    f"projector has version {self._projection.version}; only a rollback can switch to it",
                )
            if self._beside is not None:  # it goes on with the new plan
                await _ended(self._beside)
            resume = partial(
                builds.resume, projection=self._projection.name, build=build, plan=Plan().stored()
            )
            self._claim.mine(await self._database.write(resume))
            self._wake.set()
        async for _ in self._followed(build, Plan()):
            pass

    def _default(self, known: list[Checkpoint]) -> int:
        found = building_of(known) or last_live_of(known)
        if found is None:
            raise Rejected(
                "NO_KEPT_BUILD", f"{self._projection.name} has no other build; rebuild it to have one"
            )
        return found.build

    async def _followed(self, build: int, plan: Plan) -> AsyncIterator[Progress]:
        while True:
            found = next((each for each in await self.builds() if each.build == build), None)
            if found is None:
                raise Rejected("BUILD_DROPPED", f"build {build} of {self._projection.name} was dropped")
            progress = self.progress
            if found.state is BuildState.LIVE:
                yield switched_to(found)
                return
            if progress is not None and progress.build == build:
                yield progress
                if progress.phase is Phase.LEVEL and not plan.switch:
                    return
            await asyncio.sleep(TELL_SECONDS)


def _other_version(live: Checkpoint, version: int) -> str:
    return (
        f"the live build of {live.projection} is of version {live.version}, this projector has version "
        f"{version}; start one of version {live.version}, or switch to a build of version {version}"
    )


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, whatever that is."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1)
