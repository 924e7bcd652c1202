"""When a projection is brought up to date: immediate, eventual, batched or scheduled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from twofold_server.errors import StartupError
from twofold_server.modelling import Projection

SETTING = "TWOFOLD_PROJECTION_SYNC"
MOST_SECONDS = 86_400.0
MOST_EVENTS = 100_000
_HOW = "use immediate, eventual, batched(<events>, <seconds>) or scheduled(<seconds>)"
_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
_BATCHED = re.compile(rf"batched\(\s*(\d+)\s*,{_NUMBER}\)").fullmatch
_SCHEDULED = re.compile(rf"scheduled\({_NUMBER}\)").fullmatch


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How a projection is kept up to date. By itself it is as soon as events come (eventual)."""

    immediate: bool = False
    """Whether receipts of commands wait until it has applied them."""
    size: int = 1
    """Events that are waited for before they are applied together."""
    linger: float = 0.0
    """How long they are waited for, in seconds."""
    interval: float = 0.0
    """Seconds from one time to the next that it is brought up to date; 0 is all the time."""

    @property
    def delay(self) -> float:
        """How long it may stand still on purpose, in seconds."""
        return max(self.linger, self.interval)

    def __str__(self) -> str:
        if self.immediate:
            return "immediate"
        if self.interval:
            return f"scheduled({self.interval:g})"
        return f"batched({self.size}, {self.linger:g})" if self.size > 1 else "eventual"


EVENTUAL = Strategy()


def parse(text: str) -> Strategy:
    """A strategy from its text; raises ValueError that says what is wrong."""
    text = text.strip()
    if text == "eventual":
        return EVENTUAL
    if text == "immediate":
        return Strategy(immediate=True)
    if found := _BATCHED(text):
        return Strategy(size=_size(int(found[1])), linger=_seconds(float(found[2])))
    if found := _SCHEDULED(text):
        return Strategy(interval=_seconds(float(found[1])))
    raise ValueError(f"{text!r} is none; {_HOW}")


def strategies(setting: Mapping[str, str], projections: Iterable[Projection]) -> dict[str, Strategy]:
    """The strategy of each projection, its own where the setting names none.

    Raises StartupError for what cannot be meant.
    """
    declared = {projection.name: projection.sync for projection in projections}
    for name in setting:
        if name not in declared:
            there_are = ", ".join(sorted(declared))
            raise StartupError(f"{SETTING} names the projection {name}; there are {there_are}")
    return {name: _of(name, text, setting.get(name)) for name, text in declared.items()}


def _of(name: str, declared: str, asked: str | None) -> Strategy:
    try:
        return parse(declared if asked is None else asked)
    except ValueError as error:
        where = "Projection.sync" if asked is None else SETTING
        raise StartupError(f"{where} is wrong for projection {name}: {error}") from None


def _size(events: int) -> int:
    if not 2 <= events <= MOST_EVENTS:
        raise ValueError(f"a batch has 2 to {MOST_EVENTS:,} events, not {events}")
    return events


def _seconds(seconds: float) -> float:
    if not 0 < seconds <= MOST_SECONDS:
        raise ValueError(f"seconds must be more than 0 and at most {MOST_SECONDS:,.0f}, not {seconds:g}")
    return seconds
