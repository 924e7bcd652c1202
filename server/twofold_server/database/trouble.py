"""A database that fails is told of in the log: when it begins, now and then, and when it is over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from twofold_server.database.translation import in_one_line, is_away

SECONDS_BETWEEN = 10.0
"""From one line about a trouble to the next: while a server restarts, each call fails in a way of its own."""


class Trouble:
    """What is wrong with one database; callers are told no details, so the log must be."""

    def __init__(self) -> None:
        self._told_at: float | None = None

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """Around each transaction."""
        try:
            yield
        except Exception as error:
            if is_away(error):
                self._fails(in_one_line(error))
            raise
        else:
            if self._told_at is not None:
                self._told_at = None
                structlog.get_logger().info("the database is back")

    def _fails(self, what: str) -> None:
        now = time.monotonic()
        if self._told_at is None or now - self._told_at >= SECONDS_BETWEEN:
            self._told_at = now
            structlog.get_logger().warning("the database is not available", why=what)
