"""A read model on the side: rows in a temporary file, so that a fold of the whole log needs little memory."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Collection, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from twofold_server.projections.proof.memory import place_of
from twofold_server.projections.proof.shapes import Key, Shape, Values, packed, shape_of, unpacked

R = TypeVar("R")
_ROWS = "CREATE TABLE rows (t TEXT, k BLOB, v BLOB, seen INTEGER DEFAULT 0, PRIMARY KEY (t, k)) WITHOUT ROWID"
_AMONG = "k IN (SELECT unhex(value) FROM json_each(?))"
_PUT = "INSERT INTO rows (t, k, v) VALUES (?, ?, ?) ON CONFLICT (t, k) DO UPDATE SET v = excluded.v"


class Scratch:
    """The file; deleted at the end. One thread at a time may use it, any thread."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="twofold-verify-")
        path = Path(self._folder.name) / "rows.db"
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._file.create_function("unhex", 1, bytes.fromhex, deterministic=True)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-32768"):
            self._file.execute(f"PRAGMA {pragma}")
        self._file.execute(_ROWS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._folder.cleanup()

    def read(self, shape: Shape, keys: Collection[Key]) -> dict[Key, Values]:
        """The rows with these keys."""
        wanted = "SELECT k, v FROM rows WHERE t = ? AND " + _AMONG
        found = self._file.execute(wanted, (shape.name, _as_json(keys)))
        return {unpacked(key): unpacked(values) for key, values in found}

    def write(self, shape: Shape, rows: Iterable[tuple[Key, Values | None]]) -> None:
        """Put rows, or delete them (None)."""
        self._file.execute("BEGIN")
        for key, values in rows:
            if values is None:
                self._file.execute("DELETE FROM rows WHERE t = ? AND k = ?", (shape.name, packed(key)))
            else:
                self._file.execute(_PUT, (shape.name, packed(key), packed(values)))
        self._file.execute("COMMIT")

    def see(self, shape: Shape, keys: Collection[Key]) -> None:
        """Note that rows were compared."""
        seen = "UPDATE rows SET seen = 1 WHERE t = ? AND " + _AMONG
        self._file.execute(seen, (shape.name, _as_json(keys)))

    def unseen(self, shape: Shape, limit: int) -> list[Key]:
        """Keys of rows that were not compared yet."""
        wanted = "SELECT k FROM rows WHERE t = ? AND seen = 0 LIMIT ?"
        return [unpacked(key) for (key,) in self._file.execute(wanted, (shape.name, limit))]


class ScratchRows:
    """Rows (see modelling) of one batch of events."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._rows: dict[tuple[type[Any], Hashable], Any] = {}
        self._before: dict[tuple[Shape, Key], Values | None] = {}

    def prefetch(self, table: type[Any], keys: Iterable[Hashable]) -> None:
        """Read rows together."""
        shape = shape_of(table)
        wanted = {_tuple(key) for key in keys if (table, key) not in self._rows}
        found = self._scratch.read(shape, wanted)
        for key in wanted:
            values = self._before[shape, key] = found.get(key)
            row = None if values is None else shape.put_together(values)
            self._rows[table, shape.key_for_rows(key)] = row

    def prefetch_each(self, places: Iterable[tuple[type[Any], Hashable]]) -> None:
        """Read rows of several tables together, each table's with one statement."""
        by_table: dict[type[Any], set[Hashable]] = {}
        for table, key in places:
            by_table.setdefault(table, set()).add(key)
        for table, keys in by_table.items():
            self.prefetch(table, keys)

    def get(self, table: type[R], key: Hashable) -> R | None:
        """See Rows."""
        if (table, key) not in self._rows:
            self.prefetch(table, [key])
        row: R | None = self._rows[table, key]
        return row

    def add(self, row: object) -> None:
        """See Rows; raises ValueError where there is a row with this key."""
        table, key = place_of(row)
        if self.get(table, key) is not None:
            raise ValueError(f"a row {key!r} is in table {shape_of(table).name} already")
        self._rows[table, key] = row

    def delete(self, row: object) -> None:
        """See Rows."""
        table, key = place_of(row)
        self.get(table, key)
        self._rows[table, key] = None

    def touch(self, table: type[Any], key: Hashable) -> None:
        """See Rows; nothing is cached of these."""

    def values(self, shape: Shape, key: Key) -> Values | None:
        """One row taken apart; None where there is none."""
        row = self.get(shape.table, shape.key_for_rows(key))
        return None if row is None else shape.take_apart(row)

    def flush(self) -> None:
        """Write what changed."""
        for shape in {shape for shape, _ in self._before}:
            self._scratch.write(shape, self._changed(shape))

    def _changed(self, shape: Shape) -> Iterator[tuple[Key, Values | None]]:
        for (of, key), before in self._before.items():
            if of is shape and (after := self.values(shape, key)) != before:
                yield key, after


def _tuple(key: Hashable) -> Key:
    return key if isinstance(key, tuple) else (key,)


def _as_json(keys: Collection[Key]) -> str:
    return json.dumps([packed(key).hex() for key in keys])
