"""The figures, by name: each is a module with a function ``measure`` and a docstring that says what it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from bench.figures import (
    batches,
    calls,
    catch_up,
    crud,
    hot,
    lists,
    long_log,
    long_past,
    memory,
    peers,
    postgres,
    reads,
    rebuild,
    sales,
    searches,
    sequential,
    undisturbed,
    visible,
)
from bench.report import Line
from bench.run import Run

Measure = Callable[[Run], Sequence[Line]]

FIGURES: dict[str, Measure] = {
    "calls": calls.measure,
    "postgres": postgres.measure,
    "hot": hot.measure,
    "batches": batches.measure,
    "sequential": sequential.measure,
    "long_log": long_log.measure,
    "long_past": long_past.measure,
    "memory": memory.measure,
    "visible": visible.measure,
    "catch_up": catch_up.measure,
    "lists": lists.measure,
    "sales": sales.measure,
    "searches": searches.measure,
    "reads": reads.measure,
    "rebuild": rebuild.measure,
    "undisturbed": undisturbed.measure,
    "crud": crud.measure,
    "peers": peers.measure,
}


def title_of(measure: Measure) -> str:
    """What a figure is, in one line."""
    return (sys.modules[measure.__module__].__doc__ or "").strip().splitlines()[0].rstrip(".")
