"""Which answers are known to be those of now: what the notices of one projection tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from twofold_server.queries.answer import Generation

SILENCE_SECONDS = 3.0
"""Without a notice for so long nothing is known any more. Projectors repeat theirs every second or so."""
MOST_KNOWN = 100_000
"""Rows of which it is known when they changed last."""


class Validity:
    """Knows up to where all notices were heard, and which rows changed when."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most: int = MOST_KNOWN) -> None:
        """Nothing is known before the first notice."""
        self._clock = clock
        self._most = most
        self.generation: Generation | None = None
        """Whose rows the notices tell of."""
        self.era = 0
        """Counts how often everything had to be dropped, whatever its position."""
        self._position = 0
        self._floor = 0  # answers from before this position may be outdated: something was missed
        self._changed: dict[bytes, int] = {}  # rows in the order of their last change
        self._heard_at = -SILENCE_SECONDS

    @property
    def is_known(self) -> bool:
        """Whether notices are coming in."""
        return self._clock() - self._heard_at < SILENCE_SECONDS

    def holds(self, position: int, row: bytes) -> bool:
        """Whether no notice tells that an answer, read at a position, which depends on a row, is outdated."""
        return position >= self._floor and self._changed.get(row, 0) <= position

    def heard(
        self, generation: Generation, position: int, *, after: int, rows: Iterable[bytes] | None
    ) -> None:
        """Take in a notice: between two positions these rows changed, None for any number of them."""
        if generation != self.generation or position < self._position:
            self._begin(generation, position)
        elif rows is None:
            self._floor = position
        else:
            if after > self._position:
                self._floor = after
            self._note(rows, position)
        self._position = position
        self._heard_at = self._clock()

    def deafened(self) -> None:
        """Notices may be lost from now on; the next one tells whether any were."""
        self._heard_at = -SILENCE_SECONDS

    def _begin(self, generation: Generation, position: int) -> None:
        """A new projector, another build, or a read store that was put back: nothing from before counts."""
        self.generation = generation
        self.era += 1
        self._floor = position
        self._changed.clear()

    def _note(self, rows: Iterable[bytes], position: int) -> None:
        changed = self._changed
        for row in rows:
            changed.pop(row, None)
            changed[row] = position
        while len(changed) > self._most:
            self._floor = max(self._floor, changed.pop(next(iter(changed))))
