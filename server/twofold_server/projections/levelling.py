"""A build beside on its last way: one loop brings it level with the log."""

from __future__ import annotations

from twofold_server.projections.checkpoints import Checkpoint
from twofold_server.projections.loop import ProjectionLoop
from twofold_server.projections.rebuilding import Phase, Progress, Rate


class Levelling:
    """How far the loop of a build beside is."""

    def __init__(self, build: int, loop: ProjectionLoop, *, waits: bool) -> None:
        self._build = build
        self._loop = loop
        self._waits = waits
        self._rate = Rate()
        self.switched = False

    @property
    def is_level(self) -> bool:
        """Whether it has applied all that it knows of."""
        return self._loop.is_level

    def progress(self) -> Progress:
        position = self._loop.position
        self._rate.saw(position)
        level = self._waits and self.is_level
        return Progress(
            build=self._build,
            phase=Phase.SWITCHED if self.switched else Phase.LEVEL if level else Phase.LEVELLING,
            position=position,
            head=max(self._loop.head, position),
            rate=self._rate.per_second,
            workers=0,
            trouble=self._loop.trouble,
        )


def switched_to(build: Checkpoint) -> Progress:
    """The end: queries read the build."""
    return Progress(
        build=build.build,
        phase=Phase.SWITCHED,
        position=build.position,
        head=max(build.head, build.position),
        rate=0.0,
        workers=0,
        trouble="",
    )
