"""Text that is found by any piece of it, on SQLite and PostgreSQL alike.

Both keep an index of all groups of three characters: FTS5 with its trigram tokenizer, and GIN over an array
(the extension pg_trgm is not everywhere). The index only says where a piece may be; then the text is looked
at. A piece of one or two characters has no group of its own, so it stands for the beginning of a word.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    any_,
    bindparam,
    column,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import ARRAY

MOST_GROUPS = 12
"""So many groups of a query are looked up: a few already leave hardly any other text."""
RAREST = 4
"""So many of them are looked up in FTS5, the rarest: it takes a step through the list of each group that it
is given for each text of the rarest one, and the common ones exclude hardly anything more."""
SAMPLE = 100
"""Texts that are looked at to see which groups are rare."""
_GAP = "  "
"""Before each word: two blanks and one character are a group."""

_FUNCTION = """
CREATE OR REPLACE FUNCTION twofold_trigrams(words text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
    SELECT coalesce(array_agg(DISTINCT substr(words, n, 3)), '{}')
    FROM generate_series(1, length(words) - 2) AS n
$$
"""


def searchable(*texts: str) -> str:
    """Texts as they are kept to be searched: small letters without accents, word by word."""
    return "".join(_GAP + word for word in _words(" ".join(texts))) + _GAP


def pieces_of(query: str) -> list[str]:
    """What all must be in a text that a query finds; nothing for a query without words."""
    return list(dict.fromkeys(word if len(word) > 2 else _GAP + word for word in _words(query)))


def prepare_text_table(
    connection: Connection, name_of: Callable[[str], str], *, name: str, number: str, words: str
) -> None:
    """Make a table with a whole number as its key and a column of searchable text, with its index.

    On SQLite the number is the ``rowid``, and must be called so.
    """
    quote = connection.dialect.identifier_preparer.quote
    made, index = quote(name_of(name)), quote(name_of(f"{name}_trigrams"))
    if connection.dialect.name == "sqlite":
        options = "tokenize='trigram case_sensitive 1', detail=none, columnsize=0"
        connection.exec_driver_sql(f"CREATE VIRTUAL TABLE {made} USING fts5({quote(words)}, {options})")
        return
    connection.exec_driver_sql(_FUNCTION)
    connection.exec_driver_sql(
        f"CREATE TABLE {made} ({quote(number)} bigint PRIMARY KEY, {quote(words)} text NOT NULL)"
    )
    connection.exec_driver_sql(f"CREATE INDEX {index} ON {made} USING gin (twofold_trigrams({quote(words)}))")


class Texts(NamedTuple):
    """Where texts are looked at, each by its number."""

    number: ColumnElement[int]
    words: ColumnElement[str]

    def holding(self, connection: Connection, pieces: Sequence[str]) -> list[ColumnElement[bool]]:
        """Conditions that a text has these pieces, by looking at it."""
        found_at = func.instr if connection.dialect.name == "sqlite" else func.strpos
        return [found_at(self.words, piece) > 0 for piece in pieces]


def texts_of(connection: Connection, words: Any) -> Texts:
    """The texts of a text table, given by its column.

    FTS5 keeps them in a table beside its index, from which they are read five times as fast as through it.
    """
    made = words.class_.__table__
    if connection.dialect.name != "sqlite":
        [number] = made.primary_key
        return Texts(number, made.c[words.key])
    kept = table(f"{made.name}_content", column("id", BigInteger), column("c0", Text))
    return Texts(kept.c.id, kept.c.c0)


def indexed(connection: Connection, words: Any, pieces: Sequence[str]) -> Select[Any]:
    """The numbers of the texts that have these pieces, by the index and then by looking at these few."""
    texts, made = texts_of(connection, words), words.class_.__table__
    [number] = made.primary_key
    found = select(number).where(_may_have(connection, words, pieces), *texts.holding(connection, pieces))
    if connection.dialect.name == "sqlite":
        return found.join_from(made, texts.number.table, texts.number == number)
    return found


def few_indexed(connection: Connection, words: Any, pieces: Sequence[str], most: int) -> Sequence[int] | None:
    """The same where they are at most so many; None where they are more, or where the index only gives all
    at once, as GIN does."""
    if connection.dialect.name != "sqlite":
        return None
    found = connection.execute(indexed(connection, words, pieces).limit(most + 1)).scalars().all()
    return found if len(found) <= most else None


def one_of(connection: Connection, number: ColumnElement[int], numbers: Sequence[int]) -> ColumnElement[bool]:
    """The condition that a number is one of these, in one statement however many they are."""
    if connection.dialect.name == "sqlite":
        each = func.json_each(json.dumps(list(numbers))).table_valued(column("value", BigInteger))
        return number.in_(select(each.c.value))
    return number == any_(bindparam("numbers", list(numbers), ARRAY(BigInteger), unique=True))


def _may_have(connection: Connection, words: Any, pieces: Sequence[str]) -> ColumnElement[bool]:
    groups = _groups(pieces)
    if connection.dialect.name == "sqlite":
        rarest = _rarest(connection, words, groups)
        asked = " ".join('"' + group.replace('"', '""') + '"' for group in rarest)
        whole: ColumnElement[Any] = literal_column(words.class_.__table__.name)  # as FTS5 calls all columns
        return whole.bool_op("MATCH")(asked)
    wanted = bindparam("groups", groups, ARRAY(Text), unique=True)
    return func.twofold_trigrams(words, type_=ARRAY(Text)).bool_op("@>")(wanted)


def _rarest(connection: Connection, words: Any, groups: list[str]) -> list[str]:
    """The groups that the fewest texts have, as far as a sample shows; it takes a fifth of a millisecond."""
    if len(groups) <= RAREST:
        return groups
    sample = _sample(connection, texts_of(connection, words))
    return sorted(groups, key=lambda group: sum(group in text for text in sample))[:RAREST]


def _sample(connection: Connection, texts: Texts) -> list[str]:
    """Texts from everywhere, evenly."""
    last = connection.execute(select(func.max(texts.number))).scalar() or 0
    places = json.dumps([last * n // SAMPLE for n in range(SAMPLE)])
    place = func.json_each(places).table_valued(column("value", BigInteger)).c.value
    beyond = select(texts.words).where(texts.number >= place).order_by(texts.number).limit(1)
    found = connection.execute(
        select(beyond.correlate(place.table).scalar_subquery()).select_from(place.table)
    )
    return [text for text in found.scalars() if text is not None]


def _groups(pieces: Sequence[str]) -> list[str]:
    groups = list(dict.fromkeys(piece[n : n + 3] for piece in pieces for n in range(len(piece) - 2)))
    return groups[:: -(-len(groups) // MOST_GROUPS)]


def _words(text: str) -> list[str]:
    if text.isascii() and text.isprintable():
        return text.lower().split()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(_letter(each) for each in plain).split()


def _letter(character: str) -> str:
    """Accents are dropped; what can be neither seen nor typed counts as a blank."""
    if " " <= character <= "~":
        return character
    kind = unicodedata.category(character)
    return "" if kind == "Mn" else " " if kind in ("Cc", "Cs") else character
