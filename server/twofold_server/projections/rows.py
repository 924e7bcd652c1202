"""The rows that a batch of events sees: read together, changed in memory, written together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from functools import cache
from itertools import chain, islice
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Integer,
    String,
    Table,
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

from twofold_server.event_store.sql.sets import are_in, is_in

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
        for query in self._queries(table, wanted):
            for row in self._session.scalars(query):
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
            (query,) = self._queries(table, [key])
            row = self._known[table, key] = self._session.scalar(query)
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
            for among in _among(self._connection, physical, keys):
                self._connection.execute(delete(physical).where(among))
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
        columns = {name: key for name, key in _columns(table).items() if name in vars(next(iter(rows)))}
        values = [{key: getattr(row, name) for name, key in columns.items()} for row in rows]
        self._connection.execute(insert(self._physical(table)), values)

    def _update(self, table: Any, rows: Collection[Any]) -> None:
        touched = set().union(*(instance_state(row).committed_state for row in rows))
        columns = {name: key for name, key in _columns(table).items() if name in touched}
        columns |= {
            name: _OLD_KEY + key for name, key in _columns(table).items() if name in _key_names(table)
        }
        values = [{key: getattr(row, name) for name, key in columns.items()} for row in rows]
        physical = self._physical(table)
        same = [column == bindparam(_OLD_KEY + column.key) for column in physical.primary_key]
        self._connection.execute(update(physical).where(*same), values)

    def _physical(self, table: Any) -> Table:
        found: Table = self._tables.get(table, table.__table__)
        return found

    def _queries(self, table: Any, keys: Collection[Any]) -> Iterator[Any]:
        physical = self._physical(table)
        entity = table if physical is table.__table__ else _entity(table, physical)
        for among in _among(self._connection, physical, keys):
            query = select(entity).where(among)
            # In the order of the key: two who lock the same rows do not wait for each other for ever.
            yield query.order_by(*physical.primary_key).with_for_update() if self._among_others else query


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


@cache
def _entity(table: Any, physical: Table) -> Any:
    """The class, read from another table of the same columns."""
    return aliased(table, physical, adapt_on_names=True)


def _among(connection: Connection, physical: Table, keys: Collection[Any]) -> Iterator[Any]:
    """Conditions, each for some of the rows with these keys: a database takes only so many values."""
    columns = list(physical.primary_key)
    if len(columns) == 1 and isinstance(columns[0].type, String):
        yield is_in(connection, columns[0], keys)
    elif len(columns) > 1 and all(isinstance(each.type, String | Integer) for each in columns):
        yield are_in(connection, columns, keys)
    else:
        left = iter(keys)
        while some := list(islice(left, _MOST_VALUES // len(columns))):
            yield (tuple_(*columns) if len(columns) > 1 else columns[0]).in_(some)
