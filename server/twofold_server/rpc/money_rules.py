"""The rule ``(twofold.v1.money)``: what an amount of money in a request may be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from twofold.v1.options_pb2 import MoneyRules, money

_CURRENCY = re.compile(r"[A-Z]{3}")
_MAX_NANOS = 999_999_999


class _Ruled(NamedTuple):
    """A field that has the rule, or one that holds messages with such fields."""

    name: str
    repeated: bool
    rules: MoneyRules | None
    inside: tuple[Any, ...]


def violations(message: Message) -> Iterator[tuple[str, str]]:
    """Each violation in a message, as (field path, description)."""
    return _check(message, _ruled(message.DESCRIPTOR), "")


@cache
def _ruled(descriptor: Descriptor, above: tuple[str, ...] = ()) -> tuple[_Ruled, ...]:
    if descriptor.full_name in above:
        return ()  # a recursive type
    found = []
    for field in descriptor.fields:
        if field.message_type is None:
            continue
        options = field.GetOptions()
        rules = options.Extensions[money] if options.HasExtension(money) else None
        inside = () if rules else _ruled(field.message_type, (*above, descriptor.full_name))
        if rules or inside:
            found.append(_Ruled(field.name, field.is_repeated, rules, inside))
    return tuple(found)


def _check(message: Any, fields: tuple[_Ruled, ...], path: str) -> Iterator[tuple[str, str]]:
    for name, repeated, rules, inside in fields:
        if not repeated and not message.HasField(name):
            continue
        values = getattr(message, name)
        for n, value in enumerate(values if repeated else (values,)):
            here = f"{path}{name}[{n}]" if repeated else f"{path}{name}"
            yield from _amount(value, rules, here) if rules else _check(value, inside, f"{here}.")


def _amount(value: Any, rules: MoneyRules, path: str) -> Iterator[tuple[str, str]]:
    units, nanos = value.units, value.nanos
    if not _CURRENCY.fullmatch(value.currency_code):
        yield f"{path}.currency_code", "must be three capital letters (ISO 4217)"
    if not 0 <= nanos <= _MAX_NANOS:
        yield f"{path}.nanos", f"must be 0 to {_MAX_NANOS}"
    if not rules.min_units <= units <= rules.max_units or (units == rules.max_units and nanos > 0):
        yield path, f"must be {rules.min_units} to {rules.max_units} units"
