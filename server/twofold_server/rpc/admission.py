"""Admission: too much work is refused before any of it is done."""

from __future__ import annotations

from collections.abc import Callable

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
        self.in_flight = 0
        """The calls in work."""

    def admitted(self, count: int = 1) -> _Admitted:
        """A block in which ``count`` calls are in work; raises Overloaded instead where it is too much."""
        if self.in_flight + count > self._max_in_flight and self.in_flight:
            raise _overloaded(
                "TOO_MANY_CALLS",
                f"the server has {self.in_flight:,} calls in work, and its limit is {self._max_in_flight:,}",
            )
        age = self._queue_age()
        if age > self._max_queue_seconds:
            raise _overloaded("QUEUE_TOO_LONG", f"work waits for {age:.1f} s already")
        pressure = self._pressure()
        if pressure:
            raise _overloaded("READ_MODEL_BEHIND", pressure)
        return _Admitted(self, count)


class _Admitted:
    def __init__(self, admission: Admission, count: int) -> None:
        self._admission = admission
        self._count = count

    def __enter__(self) -> None:
        self._admission.in_flight += self._count

    def __exit__(self, *_: object) -> None:
        self._admission.in_flight -= self._count


def _overloaded(reason: str, why: str) -> Overloaded:
    return Overloaded(f"{why}; nothing was done, retry shortly", reason=reason)
