"""How long a read model keeps rows. The log keeps their events for ever, whatever is said here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Rows of some tables go when they are old, in small batches.

    A handler must pass over a row that is gone: it takes nothing from it, and does not make it again.
    """

    keep: timedelta
    """How old a row gets; a setting may say otherwise."""
    tables: Mapping[type[Any], tuple[str, Callable[[datetime], int]]]
    """For each table with rows that go: the attribute of its primary key that tells how old a row is, and
    ``moment -> value``: rows with a smaller value than this are older than the moment (UTC)."""

    def first_kept(self, table: type[Any], now: datetime) -> tuple[str, int] | None:
        """The attribute and the least value that is kept; None for a table whose rows are kept for ever."""
        if table not in self.tables:
            return None
        attribute, value_of = self.tables[table]
        return attribute, value_of(now - self.keep)

    def is_expired(self, table: type[Any], row: object, now: datetime) -> bool:
        """Whether a row, of which only the key must be known, may be gone by now."""
        found = self.first_kept(table, now)
        return found is not None and getattr(row, found[0]) < found[1]
