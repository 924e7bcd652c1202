"""A build filled beside the one that queries read: by workers as long as it is far behind the log."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from enum import Enum
from functools import partial
from typing import Self

import structlog

from twofold_server.database import Database
from twofold_server.errors import StartupError, Unavailable
from twofold_server.modelling import Projection
from twofold_server.projections.checkpoints import Checkpoint, take_over
from twofold_server.projections.crew import Crew, WorkersFailed
from twofold_server.projections.parts import NotComplete, Part, join, read_parts, split
from twofold_server.projections.sources import EventLog, LogAway

NEAR = 2_000
"""A build that is at most so many positions behind the log is left to one loop."""
RATE_SECONDS = 5.0
"""The rate is that of the last seconds."""
RETRY_SECONDS = 1.0


class Phase(Enum):
    """What is being done."""

    FOLDING = "folding"
    LEVELLING = "levelling"
    LEVEL = "level"
    SWITCHED = "switched"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a build is to be filled; stored with it, for whoever goes on after a crash."""

    workers: int = 0
    """How many processes; 0 is one for each core."""
    switch: bool = True
    """Whether to switch to it when it is level."""
    pause: float = 0.0
    """Seconds that each worker pauses after each batch."""

    @property
    def crew_size(self) -> int:
        """How many processes."""
        return self.workers or min(os.cpu_count() or 1, 16)

    def stored(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Self:
        """Out of its text; an empty one is the usual plan."""
        return cls(**json.loads(text or "{}"))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a build is."""

    build: int
    """Its number."""
    phase: Phase
    """What is being done."""
    position: int
    """How far it is; on average over the workers."""
    head: int
    """The last position of the log, as far as is known."""
    rate: float
    """Positions in a second; 0 while unknown."""
    workers: int
    """How many processes fold."""
    trouble: str
    """Why it does not go on; empty while it does."""

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at this rate; None while that is unknown."""
        return max(0, self.head - self.position) / self.rate if self.rate else None


class Rate:
    """How fast a number grows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, float]] = deque()

    def saw(self, position: float) -> None:
        """Take in the number as it is now."""
        now = self._clock()
        self._seen.append((now, position))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """Over the last seconds; 0 while unknown."""
        if len(self._seen) < 2:
            return 0.0
        (then, before), (now, after) = self._seen[0], self._seen[-1]
        return (after - before) / (now - then) if now > then else 0.0


class Filling:
    """Lets workers fill a build until it is near the end of the log."""

    def __init__(
        self,
        *,
        database: Database,
        projection: Projection,
        build: Checkpoint,
        crew: Crew | None,
        log: EventLog,
    ) -> None:
        self._database = database
        self._projection = projection
        self._build = build
        self._plan = Plan.read(build.plan)
        self._crew = crew
        self._log = log
        self._reached: dict[int, int] = {}
        self._rate = Rate()
        self._head = build.head
        self._workers = 0
        self.trouble = ""
        self._logger = structlog.get_logger().bind(projection=projection.name, build=build.build)

    def progress(self) -> Progress:
        """How far it is."""
        reached = self._reached.values()
        position = sum(reached) // len(reached) if reached else self._build.position
        self._rate.saw(position)
        return Progress(
            build=self._build.build,
            phase=Phase.FOLDING,
            position=position,
            head=max(self._head, position),
            rate=self._rate.per_second,
            workers=self._workers,
            trouble=self.trouble,
        )

    async def run(self) -> None:
        """Until the build is near; goes on trying where store, log or workers fail. Raises TakenOver."""
        while True:
            try:
                await self._fill()
                return
            except (Unavailable, LogAway, WorkersFailed, NotComplete) as error:
                self.trouble = str(error)
                self._logger.warning("rebuild held up", why=self.trouble)
                await asyncio.sleep(RETRY_SECONDS)

    async def _fill(self) -> None:
        log_id, self._head = await self._look_at_log()
        self._build = await self._database.write(
            partial(take_over, projection=self._projection, log_id=log_id, build=self._build.build)
        )
        parts = await self._database.read(
            partial(read_parts, projection=self._projection.name, build=self._build.build)
        )
        while self._crew is not None and (parts or self._head - self._build.position > NEAR):
            await self._fold(self._crew, parts or await self._split())
            self._build = await self._database.write(partial(join, build=self._build))
            self._logger.info("workers are done", position=self._build.position)
            _, self._head = await self._look_at_log()
            parts = []

    async def _fold(self, crew: Crew, parts: list[Part]) -> None:
        self._reached = {part.part: part.position for part in parts}
        self._workers = len(parts)
        self.trouble = ""
        self._logger.info("workers fold", workers=len(parts), target=parts[0].target)
        try:
            await crew.fold(parts, pause=self._plan.pause, tell=self._reached.__setitem__)
        finally:
            self._workers = 0

    async def _split(self) -> list[Part]:
        return await self._database.write(
            partial(split, build=self._build, workers=self._plan.crew_size, target=self._head)
        )

    async def _look_at_log(self) -> tuple[str, int]:
        async with aclosing(self._log.read(self._build.position, limit=1)) as batches:
            batch = await anext(batches)
        if batch.log_id != self._build.log_id:
            raise StartupError(
                f"build {self._build.build} of {self._projection.name} is filled from event log "
                f"{self._build.log_id}, but the command server has log {batch.log_id}"
            )
        return batch.log_id, batch.head
