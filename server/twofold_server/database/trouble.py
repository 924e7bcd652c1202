"""A database that fails is told of in the log: once when it begins, and when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from twofold_server.database.translation import in_one_line, is_away


class Trouble:
    """What is wrong with one database; callers are told no details, so that the log must."""

    def __init__(self) -> None:
        self._what = ""

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
            if self._what:
                self._what = ""
                structlog.get_logger().info("the database is back")

    def _fails(self, what: str) -> None:
        if what != self._what:
            structlog.get_logger().warning("the database is not available", why=what)
        self._what = what
