"""The rows that a batch of events sees: read together, changed in memory, written together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import chain, islice
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    Integer,
    String,
    Table,
    Update,
    bindparam,
    delete,
    insert,
    inspect,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session, aliased
from sqlalchemy.orm.attributes import instance_state

from twofold_server.event_store.sql.sets import Values, bind_rows, rows_in, values_in

R = TypeVar("R")
K = TypeVar("K")
V = TypeVar("V")
_Place = tuple[Any, Hashable]
_OLD_KEY = "old_key_"
_MOST_VALUES = 10_000
"""SQLite and PostgreSQL take some 32,000 in one statement."""
MOST_TOUCHED = 500
"""A batch that touches more rows than this does not tell which: whoever listens drops everything."""

Touched = Mapping[str, Collection[Hashable]] | None
"""Primary keys by the name of their table; None for too many to tell."""


class SessionRows:
    """Rows (see modelling) on a SQLAlchemy session, inside the caller's transaction.

    The session loads rows and notices what handlers change. Writing is done here, as one statement for each
    table and kind of change: the session's own flush makes one for each set of columns that changed
    together, which took half of the fold's time.
    """

    def __init__(
        self,
        connection: Connection,
        tables: Mapping[type[Any], Table] | None = None,
        *,
        among_others: bool = False,
    ) -> None:
        """``tables`` are those to use instead of the classes' own: of a build that is not live.

        ``among_others``: others write the same tables meanwhile, so rows are locked when they are read.
        """
        self._connection = connection
        self._among_others = among_others
        self._tables = tables or {}
        self._session = Session(bind=connection, autoflush=False, expire_on_commit=False)
        self._known: dict[_Place, Any] = {}
        self._added: dict[_Place, Any] = {}
        self._deleted: set[_Place] = set()
        self._concerned: set[_Place] = set()

    def prefetch(self, table: Any, keys: Iterable[Hashable]) -> None:
        """Read the rows of these keys with one statement, and remember which do not exist."""
        wanted = {key for key in keys if (table, key) not in self._known}
        if not wanted:
            return
        self._known.update(((table, key), None) for key in wanted)
        key_of = _key_of(table)
        for row in self._find(table, wanted):
            self._known[table, key_of(row)] = row

    def prefetch_each(self, places: Iterable[tuple[Any, Hashable]]) -> None:
        """The same for rows of several tables, each a table and a key: a statement a table."""
        for table, keys in _grouped(places):
            self.prefetch(table, keys)

    def get(self, table: type[R], key: Hashable) -> R | None:
        """See Rows."""
        try:
            row: R | None = self._known[table, key]
        except KeyError:
            found = list(self._find(table, [key]))
            row = self._known[table, key] = found[0] if found else None
        return row

    def add(self, row: object) -> None:
        """See Rows."""
        place = _place(row)
        self._known[place] = self._added[place] = row

    def delete(self, row: object) -> None:
        """See Rows."""
        place = _place(row)
        self._known[place] = None
        if self._added.pop(place, None) is not row:
            self._deleted.add(place)

    def touch(self, table: type[Any], key: Hashable) -> None:
        """See Rows."""
        self._concerned.add((table, key))

    def flush(self) -> Touched:
        """Write what changed, once, at the end of the batch, and tell which rows; the caller commits."""
        # Deletes go first: a row may have been deleted and added again under its key.
        for table, keys in _grouped(self._deleted):
            physical = self._physical(table)
            for among, values in _among(self._connection.dialect, physical, keys):
                self._connection.execute(delete(physical).where(among), values)
        # Rows whose columns were set in another order, or not all of them, need a statement of their own.
        for (added, *_), rows in _grouped(((type(row), *vars(row)), row) for row in self._added.values()):
            self._insert(added, rows)
        changed: Collection[Any] = self._session.dirty
        if self._deleted:
            changed = [row for row in changed if self._known[_place(row)] is row]
        changes = _grouped((type(row), row) for row in changed)
        for table, rows in changes:
            self._update(table, rows)
        places = self._deleted, self._added, self._concerned
        few = sum(map(len, places)) + len(changed) <= MOST_TOUCHED
        touched = _by_table(chain(*places), changes) if few else None
        self._session.close()  # lets go of the rows, which otherwise wait for the garbage collector
        return touched

    def _insert(self, table: Any, rows: Collection[Any]) -> None:
        given = vars(next(iter(rows)))
        columns = {name: key for name, key in _columns(table).items() if name in given}
        self._connection.execute(_inserting(self._physical(table)), _values(rows, columns))

    def _update(self, table: Any, rows: Collection[Any]) -> None:
        touched = set().union(*(instance_state(row).committed_state for row in rows))
        columns = {name: key for name, key in _columns(table).items() if name in touched}
        columns |= {
            name: _OLD_KEY + key for name, key in _columns(table).items() if name in _key_names(table)
        }
        self._connection.execute(_updating(self._physical(table)), _values(rows, columns))

    def _physical(self, table: Any) -> Table:
        found: Table = self._tables.get(table, table.__table__)
        return found

    def _find(self, table: Any, keys: Collection[Any]) -> Iterator[Any]:
        physical, dialect = self._physical(table), self._connection.dialect
        if _by_constant_text(physical):
            query = _finding(table, physical, dialect, self._among_others)
            yield from self._session.scalars(query, _bound(dialect, physical, keys))
            return
        for among, values in _among(dialect, physical, keys):
            query = _selecting(table, physical, among, lock=self._among_others)
            yield from self._session.scalars(query, values)


def _values(rows: Collection[Any], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    # From where the attributes are kept: asking for each takes four times as long.
    return [{key: held[name] for name, key in columns.items()} for held in map(vars, rows)]


def _grouped(pairs: Iterable[tuple[K, V]]) -> Iterable[tuple[K, list[V]]]:
    groups: dict[K, list[V]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups.items()


def _by_table(places: Iterable[_Place], changed: Iterable[tuple[Any, Collection[Any]]]) -> Touched:
    keys: defaultdict[Any, set[Hashable]] = defaultdict(set)
    for table, key in places:
        keys[table].add(key)
    for table, rows in changed:
        keys[table].update(map(_key_of(table), rows))
    return {table.__table__.name: found for table, found in keys.items()}


def _place(row: object) -> _Place:
    table: Any = type(row)
    return table, _key_of(table)(row)


@cache
def _columns(table: Any) -> Mapping[str, str]:
    """The key of each column of a table, by the attribute that holds it."""
    return {attribute.key: attribute.columns[0].key for attribute in inspect(table).column_attrs}


@cache
def _key_names(table: Any) -> tuple[str, ...]:
    mapper = inspect(table)
    return tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)


@cache
def _key_of(table: Any) -> Callable[[Any], Hashable]:
    return attrgetter(*_key_names(table))


# Statements are built once: building one for each batch took half of a small batch's time.


@lru_cache(maxsize=1000)
def _finding(table: Any, physical: Table, dialect: Dialect, lock: bool) -> Any:
    return _selecting(table, physical, _is_wanted(dialect, physical), lock=lock)


@lru_cache(maxsize=1000)
def _inserting(physical: Table) -> Insert:
    return insert(physical)


@lru_cache(maxsize=1000)
def _updating(physical: Table) -> Update:
    same = [column == bindparam(_OLD_KEY + column.key) for column in physical.primary_key]
    return update(physical).where(*same)


def _selecting(table: Any, physical: Table, among: Any, *, lock: bool) -> Any:
    # From another table of the same columns, where the build is not live.
    entity = table if physical is table.__table__ else aliased(table, physical, adapt_on_names=True)
    query = select(entity).where(among)
    # In the order of the key: two who lock the same rows do not wait for each other for ever.
    return query.order_by(*physical.primary_key).with_for_update() if lock else query


def _by_constant_text(physical: Table) -> bool:
    """Whether any number of keys can be bound to one statement."""
    columns = list(physical.primary_key)
    kinds = (String,) if len(columns) == 1 else (String, Integer)
    return all(isinstance(each.type, kinds) for each in columns)


def _is_wanted(dialect: Dialect, physical: Table) -> ColumnElement[bool]:
    columns = list(physical.primary_key)
    return values_in(dialect, columns[0]) if len(columns) == 1 else rows_in(dialect, columns)


def _bound(dialect: Dialect, physical: Table, keys: Collection[Any]) -> dict[str, object]:
    columns = list(physical.primary_key)
    if len(columns) == 1:
        return {"wanted": Values(dialect).bind(keys)}
    return bind_rows(dialect, columns, keys)


def _among(
    dialect: Dialect, physical: Table, keys: Collection[Any]
) -> Iterator[tuple[ColumnElement[bool], dict[str, object]]]:
    """Conditions, and what to bind: each for some of the keys, since a database takes only so many."""
    if _by_constant_text(physical):
        yield _is_wanted(dialect, physical), _bound(dialect, physical, keys)
        return
    columns = list(physical.primary_key)
    left = iter(keys)
    while some := list(islice(left, _MOST_VALUES // len(columns))):
        yield (tuple_(*columns) if len(columns) > 1 else columns[0]).in_(some), {}
