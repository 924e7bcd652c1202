"""Whose a half-done build is, where several projectors could go on with it."""

from __future__ import annotations

import time

from twofold_server.projections.checkpoints import Checkpoint
from twofold_server.projections.parts import Part

ABANDONED_SECONDS = 10.0
"""A half-done build that stands still for so long is taken over from another projector."""


class Claim:
    """Whether a half-done build is this process's to go on with: it began it, or nobody else does."""

    def __init__(self, *, everything: bool) -> None:
        self._everything = everything
        self._build = 0
        self._seen: object = None
        self._since = time.monotonic()

    def mine(self, build: Checkpoint) -> None:
        """This process goes on with a build."""
        self._build = build.build

    def lost(self) -> None:
        """Another process goes on with it."""
        self._build = 0

    def allows(self, build: Checkpoint, parts: list[Part]) -> bool:
        """Whether to go on with a build, by what is stored of it now."""
        stands = build.build, build.epoch, build.position, [(part.epoch, part.position) for part in parts]
        if stands != self._seen:
            self._seen, self._since = stands, time.monotonic()
        if self._everything or time.monotonic() - self._since > ABANDONED_SECONDS:
            self._build = build.build
        return self._build == build.build
