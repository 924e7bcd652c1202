"""How a run was asked for."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every figure is given."""

    folder: Path
    """A folder for data, removed at the end."""
    rounds: int = 5
    """How often each thing is measured; the things of one figure take turns."""
    seconds: float = 5
    """How long each of them is measured in a round."""
    full: bool = False
    """Whether figures that depend on an amount of data take the whole of it."""
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def new_folder(self) -> Path:
        """A folder that nobody has used before."""
        folder = self.folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    def each_round(self) -> Iterator[int]:
        """The rounds, told on standard error."""
        for number in range(1, self.rounds + 1):
            self.say(f"round {number} of {self.rounds}")
            yield number

    def say(self, text: str) -> None:
        """Tell people who wait that something goes on."""
        sys.stderr.write(f"  … {text}\n")
