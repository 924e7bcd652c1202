"""Text that is found by any piece of it, on SQLite and PostgreSQL alike.

Both keep an index of all groups of three characters: FTS5 with its trigram tokenizer, and GIN over an array
(the extension pg_trgm is not everywhere). The index only says where a piece may be; then the text is looked
at. A piece of one or two characters has no group of its own, so it stands for the beginning of a word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, bindparam, func, literal_column
from sqlalchemy.dialects.postgresql import ARRAY

MOST_GROUPS = 40
"""So many groups of a query are looked up; more would make the answer later, not better."""
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
    return "".join(_GAP + word for text in texts for word in _words(text)) + _GAP


def pieces_of(query: str) -> list[str]:
    """What all must be in a text that a query finds; nothing for a query without words."""
    return list(dict.fromkeys(word if len(word) > 2 else _GAP + word for word in _words(query)))


def prepare_text_table(
    connection: Connection, name_of: Callable[[str], str], *, table: str, number: str, words: str
) -> None:
    """Make a table with a whole number as its key and a column of searchable text, with its index.

    On SQLite the number is the ``rowid``, and must be called so.
    """
    quote = connection.dialect.identifier_preparer.quote
    made, index = quote(name_of(table)), quote(name_of(f"{table}_trigrams"))
    if connection.dialect.name == "sqlite":
        options = "tokenize='trigram case_sensitive 1', detail=none, columnsize=0"
        connection.exec_driver_sql(f"CREATE VIRTUAL TABLE {made} USING fts5({quote(words)}, {options})")
        return
    connection.exec_driver_sql(_FUNCTION)
    connection.exec_driver_sql(
        f"CREATE TABLE {made} ({quote(number)} bigint PRIMARY KEY, {quote(words)} text NOT NULL)"
    )
    connection.exec_driver_sql(f"CREATE INDEX {index} ON {made} USING gin (twofold_trigrams({quote(words)}))")


def holds(connection: Connection, words: Any, pieces: Sequence[str]) -> list[ColumnElement[bool]]:
    """Conditions that a text has these pieces, by looking at it."""
    found_at = func.instr if connection.dialect.name == "sqlite" else func.strpos
    return [found_at(words, piece) > 0 for piece in pieces]


def may_hold(connection: Connection, words: Any, pieces: Sequence[str]) -> ColumnElement[bool]:
    """The condition that a text may have these pieces, by the index."""
    groups = _groups(pieces)
    if connection.dialect.name == "sqlite":
        asked = " ".join('"' + group.replace('"', '""') + '"' for group in groups)
        whole: ColumnElement[Any] = literal_column(words.class_.__table__.name)  # as FTS5 calls all columns
        condition = whole.bool_op("MATCH")(asked)
    else:
        wanted = bindparam("groups", groups, ARRAY(Text), unique=True)
        condition = func.twofold_trigrams(words, type_=ARRAY(Text)).bool_op("@>")(wanted)
    return condition


def _groups(pieces: Sequence[str]) -> list[str]:
    groups = list(dict.fromkeys(piece[n : n + 3] for piece in pieces for n in range(len(piece) - 2)))
    return groups[:: -(-len(groups) // MOST_GROUPS)]


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(_letter(each) for each in plain).split()


def _letter(character: str) -> str:
    """Accents are dropped; what can be neither seen nor typed counts as a blank."""
    if " " <= character <= "~":
        return character
    kind = unicodedata.category(character)
    return "" if kind == "Mn" else " " if kind in ("Cc", "Cs") else character
