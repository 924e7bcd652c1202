"""What came out, as lines of a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """What a line should reach."""

    sign: str
    """≥ or ≤."""
    value: float
    """In the unit of the line."""

    def met_by(self, value: float) -> bool:
        """Whether a median reaches it."""
        return value >= self.value if self.sign == "≥" else value <= self.value


def at_least(value: float) -> Goal:
    """More is better."""
    return Goal("≥", value)


def at_most(value: float) -> Goal:
    """Less is better."""
    return Goal("≤", value)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that was measured, once a round."""

    what: str
    """In a few words."""
    rounds: Sequence[float]
    """A value for each round."""
    unit: str = ""
    """Empty for a ratio."""
    cpu: Sequence[float] = ()
    """CPU microseconds of the server for each request (or event), for each round."""
    goal: Goal | None = None
    """What the median should reach."""

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    def as_json(self) -> dict[str, Any]:
        """Everything that is known."""
        told: dict[str, Any] = {"what": self.what, "median": self.median, "rounds": list(self.rounds)}
        if self.unit:
            told["unit"] = self.unit
        if self.cpu:
            told |= {"cpu_us": statistics.median(self.cpu), "cpu_us_rounds": list(self.cpu)}
        if self.goal:
            met = self.goal.met_by(self.median)
            told |= {"goal": f"{self.goal.sign} {self.goal.value}", "met": met}
        return told


def ratio(what: str, over: Sequence[float], under: Sequence[float], goal: Goal | None = None) -> Line:
    """Round by round one thing divided by another, since both suffer alike from what else goes on."""
    return Line(what=what, rounds=[a / b for a, b in zip(over, under, strict=True)], goal=goal)


def table(title: str, lines: Iterable[Line]) -> str:
    """The lines of one figure as text."""
    rows = [_HEAD, *(tuple(_cells(line)) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join([title, *("  " + _row(row, widths) for row in rows)]) + "\n"


_HEAD = ("", "median", "", "min … max", "CPU µs", "goal", "")


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    first, median, unit, *rest = (
        cell.ljust(width) if n in _LEFT else cell.rjust(width)
        for n, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, f"{median} {unit}", *rest]).rstrip()


_LEFT = (0, 2, 6)


def _cells(line: Line) -> Iterator[str]:
    yield line.what
    yield number(line.median)
    yield line.unit
    yield f"{number(min(line.rounds))} … {number(max(line.rounds))}"
    yield number(statistics.median(line.cpu)) if line.cpu else ""
    yield f"{line.goal.sign} {line.goal.value:,g}" if line.goal else ""
    yield ("reached" if line.goal.met_by(line.median) else "missed") if line.goal else ""


def number(value: float) -> str:
    """Three digits that count, or all of a whole number."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
