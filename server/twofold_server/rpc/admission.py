"""Admission: too much work is refused before any of it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twofold_server.errors import Overloaded


class Admission:
    """Bounds the calls that are in work, and how long new ones would wait.

    Health checks and reflection do not pass through here.
    """

    def __init__(
        self,
        *,
        max_in_flight: int,
        max_queue_seconds: float = float("inf"),
        queue_age: Callable[[], float] = lambda: 0.0,
        pressure: Callable[[], str] = lambda: "",
    ) -> None:
        """``queue_age`` tells for how many seconds the oldest waiting work has waited; ``pressure`` tells in
        plain words why no work should come for now, or nothing."""
        self._max_in_flight = max_in_flight
        self._max_queue_seconds = max_queue_seconds
        self._queue_age = queue_age
        self._pressure = pressure
        self._in_flight = 0

    @contextmanager
    def admitted(self, count: int = 1) -> Iterator[None]:
        """Work on ``count`` calls inside the block; raises Overloaded instead where it is too much."""
        if self._in_flight + count > self._max_in_flight and self._in_flight:
            raise _overloaded(
                "TOO_MANY_CALLS", f"the server has {self._in_flight} calls in work, which is its limit"
            )
        age = self._queue_age()
        if age > self._max_queue_seconds:
            raise _overloaded("QUEUE_TOO_LONG", f"work waits for {age:.1f} s already")
        pressure = self._pressure()
        if pressure:
            raise _overloaded("READ_MODEL_BEHIND", pressure)
        self._in_flight += count
        try:
            yield
        finally:
            self._in_flight -= count


def _overloaded(reason: str, why: str) -> Overloaded:
    return Overloaded(f"{why}; nothing was done, retry shortly", reason=reason)
