"""What verification finds: rows that are not what the log makes of them, told by table, key and field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from twofold_server.projections.proof.shapes import Key, Shape, Values

SHOWN_BYTES = 32
"""How many bytes of a value are shown that nobody can read."""
NOTHING = "null"
"""How the absence of a value is shown."""


class Kind(StrEnum):
    """How something differs."""

    CHANGED = "changed"
    """Fields of the row have other values than the log gives them."""
    MISSING = "missing"
    """The log makes this row; it is not there."""
    SURPLUS = "surplus"
    """The row is there; the log does not make it."""
    RULE = "rule"
    """A rule across read models does not hold."""


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field of a row, with its values as text."""

    field: str
    """The column, and inside a message the path of the field, for example ``view.total.units``."""
    stored: str
    """What the read store has."""
    expected: str
    """What the log says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A row that differs, or a rule that does not hold."""

    kind: Kind
    table: str = ""
    """The table; empty for a rule."""
    key: tuple[str, ...] = ()
    """The values of the primary key's columns, as text."""
    position: int
    """The position at which was compared."""
    fields: tuple[FieldDifference, ...] = ()
    """What differs."""
    rule: str = ""
    """The rule's name."""
    repaired: bool = False
    """Whether the row was written anew."""

    def __str__(self) -> str:
        row = f"{self.table} {', '.join(self.key)}"
        fields = "; ".join(f"{each.field} is {each.stored}, not {each.expected}" for each in self.fields)
        match self.kind:
            case Kind.MISSING:
                return f"{row} is missing"
            case Kind.SURPLUS:
                return f"{row} should not be there"
            case Kind.CHANGED:
                return f"{row}: {fields}"
            case Kind.RULE:
                return f"rule {self.rule}: {fields}"


def compare(
    shape: Shape, key: Key, stored: Values | None, expected: Values | None, *, position: int
) -> Difference | None:
    """What differs between a row as it is and as it should be; None is no row, or no difference."""
    if stored == expected:
        return None
    fields: tuple[FieldDifference, ...] = ()
    if stored is None:
        kind = Kind.MISSING
    elif expected is None:
        kind = Kind.SURPLUS
    else:
        kind, fields = Kind.CHANGED, tuple(changes(shape, stored, expected))
        if not fields:
            return None
    return Difference(kind=kind, table=shape.name, key=key_text(key), position=position, fields=fields)


def changes(shape: Shape, stored: Values | None, expected: Values | None) -> Iterator[FieldDifference]:
    """The fields that differ between two states of a row; bytes that mean the same message do not."""
    nothing = (None,) * len(shape.fields)
    for field, a, b in zip(shape.fields, stored or nothing, expected or nothing, strict=True):
        if a != b:
            yield from _in_field(field, a, b, shape.message_of(field))


def key_text(key: Key) -> tuple[str, ...]:
    """A key as text."""
    return tuple(shown(value) for value in key)


def shown(value: Any) -> str:
    """A value as text."""
    if value is None:
        return NOTHING
    if isinstance(value, bytes):
        more = "…" if len(value) > SHOWN_BYTES else ""
        return f"0x{value[:SHOWN_BYTES].hex()}{more}"
    return str(value)


def _in_field(field: str, a: Any, b: Any, message: type[Message] | None) -> Iterator[FieldDifference]:
    one, other = _parsed(a, message), _parsed(b, message)
    if one is None or other is None:
        yield FieldDifference(field, shown(a), shown(b))
        return
    stored, expected = dict(_leaves(one, field)), dict(_leaves(other, field))
    differ = [path for path in {**expected, **stored} if stored.get(path) != expected.get(path)]
    for path in differ:
        yield FieldDifference(path, stored.get(path, NOTHING), expected.get(path, NOTHING))
    if not differ and one != other:  # what only another version of the message can name
        yield FieldDifference(field, shown(a), shown(b))


def _parsed(value: Any, message: type[Message] | None) -> Message | None:
    if message is None:
        return None
    try:
        return message.FromString(value or b"")
    except (DecodeError, TypeError):
        return None


def _leaves(message: Message, path: str) -> Iterator[tuple[str, str]]:
    yield from _paths(MessageToDict(message, preserving_proto_field_name=True), path)


def _paths(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _paths(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _paths(inner, f"{path}[{place}]")
    else:
        yield path, str(value)
