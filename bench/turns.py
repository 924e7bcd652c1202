"""Things that are compared are measured in turns, so that what else goes on hits all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from bench.run import Run

K = TypeVar("K")
V = TypeVar("V")


def in_turns(run: Run, measured: Mapping[K, Callable[[], V]]) -> dict[K, list[V]]:
    """Measure each thing once a round."""
    found: dict[K, list[V]] = {name: [] for name in measured}
    for _ in run.each_round():
        for name, measure in measured.items():
            found[name].append(measure())
    return found
