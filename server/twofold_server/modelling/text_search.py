"""A page of the rows that a text search finds, in an order of the caller's, however many there are.

Pieces that are in many rows are found by walking the list: a page is full after a few rows. Pieces that are
in few are found by the index. Which it is, is seen by walking a bounded number of rows first; so neither is
ever done for millions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, literal, select, tuple_

from twofold_server.modelling.text_index import few_indexed, indexed, one_of, texts_of

WALK = 5_000
"""Rows of the list that are looked at before the index is asked."""
FEW = 1_000
"""So many rows the index may find before it is asked whether the list should be walked instead."""
COUNTED = 10_000
"""More rows than this are not counted."""


class Found(NamedTuple):
    """What a search gives."""

    rows: Sequence[Any]
    """The page, and one row more where there is a further page."""
    total: int
    """How many rows match on all pages."""
    at_least: bool
    """Whether there are more than ``total``: they were not counted to the end."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to search: a table of rows, and for each of them its text in a table beside it."""

    columns: Sequence[Any]
    """What a row of the answer has."""
    number: Any
    """The column that holds the key of the row's text."""
    words: Any
    """The column of searchable text, in the table of texts."""
    pieces: Sequence[str]
    """What the text must have (``pieces_of``); with nothing, texts are not looked at."""
    where: Sequence[ColumnElement[bool]]
    """Further conditions on the row; best those that an index holds."""
    order: Sequence[Any]
    """Columns that are unique together, to sort by; best those of an index."""
    descending: bool
    """Whether all of them descend."""
    after: Sequence[Any]
    """Their values in the last row of the page before; empty for the first page."""
    skip: int
    """How many rows to pass over."""
    size: int
    """How many rows a page has."""

    def run(self, connection: Connection) -> Found:
        """Search."""
        if not self.pieces:
            total = self._count(connection, select(self.number).where(*self.where))
            return Found(self._page(connection), min(total, COUNTED), total > COUNTED)
        few = few_indexed(connection, self.words, self.pieces, FEW)
        if few is not None:
            return self._among(connection, one_of(connection, self.number, few))
        return self._by_walking(connection) or self._by_index(connection)

    def _among(self, connection: Connection, among: ColumnElement[bool]) -> Found:
        total = self._count(connection, select(self.number).where(among, *self.where))
        return Found(self._page(connection, among), min(total, COUNTED), total > COUNTED)

    def _by_walking(self, connection: Connection) -> Found | None:
        """The page, where a walk of the list finds all of it; otherwise None."""
        texts = texts_of(connection, self.words)
        seen = texts.holding(connection, self.pieces)
        first = self._walked(self.where).subquery()
        walked = _length(connection, select(first))
        matching = select(texts.number).join(first, first.c[0] == texts.number).where(*seen)
        total = _length(connection, matching)
        near = self._walked([*self.where, *self._beyond()]).subquery()
        on_the_way = select(texts.number).join(near, near.c[0] == texts.number).where(*seen)
        rows = self._page(connection, self.number.in_(on_the_way))
        if walked < WALK:
            return Found(rows, total, False)
        return Found(rows, max(total, self.skip + self.size), True) if len(rows) > self.size else None

    def _by_index(self, connection: Connection) -> Found:
        hits = indexed(connection, self.words, self.pieces)
        found = connection.execute(hits.limit(COUNTED + 1)).scalars().all()
        if len(found) <= COUNTED:
            return self._among(connection, one_of(connection, self.number, found))
        # PostgreSQL would otherwise look at every text in the order of the list.
        every = hits.cte("hits").prefix_with("MATERIALIZED", dialect="postgresql")
        return self._among(connection, self.number.in_(select(every.c[0])))

    def _walked(self, where: Sequence[ColumnElement[bool]]) -> Select[Any]:
        return select(self.number).where(*where).order_by(*self._sorted()).limit(WALK)

    def _page(self, connection: Connection, among: ColumnElement[bool] | None = None) -> Sequence[Any]:
        found = select(*self.columns).where(*self.where, *self._beyond())
        if among is not None:
            found = found.where(among)
        page = found.order_by(*self._sorted()).offset(self.skip).limit(self.size + 1)
        return connection.execute(page).all()

    def _count(self, connection: Connection, matching: Select[Any]) -> int:
        return _length(connection, matching.limit(COUNTED + 1))

    def _sorted(self) -> list[Any]:
        return [column.desc() if self.descending else column.asc() for column in self.order]

    def _beyond(self) -> list[ColumnElement[bool]]:
        if not self.after:
            return []
        here = tuple_(*self.order)
        last = tuple_(*(literal(v, c.type) for v, c in zip(self.after, self.order, strict=True)))
        return [here < last if self.descending else here > last]


def _length(connection: Connection, rows: Select[Any]) -> int:
    return connection.execute(select(func.count()).select_from(rows.subquery())).scalar_one()
