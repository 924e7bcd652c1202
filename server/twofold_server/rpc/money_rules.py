"""The rule ``(twofold.v1.money)``: what an amount of money in a request may be."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from twofold.v1.options_pb2 import MoneyRules, money

Violations = list[tuple[str, str]]
"""Field paths with descriptions."""

_is_currency = re.compile(r"[A-Z]{3}").fullmatch
_MAX_NANOS = 999_999_999


class _Ruled(NamedTuple):
    """A field that has the rule, or one that holds messages with such fields."""

    name: str
    repeated: bool
    bounds: tuple[int, int] | None
    inside: tuple[Any, ...]


def violations(message: Message) -> Violations:
    """Each violation in a message."""
    found: Violations = []
    _check(message, _ruled(message.DESCRIPTOR), "", found)
    return found


@cache
def _ruled(descriptor: Descriptor, above: tuple[str, ...] = ()) -> tuple[_Ruled, ...]:
    if descriptor.full_name in above:
        return ()  # a recursive type
    found = []
    for field in descriptor.fields:
        if field.message_type is None:
            continue
        bounds = _bounds(field.GetOptions())
        inside = () if bounds else _ruled(field.message_type, (*above, descriptor.full_name))
        if bounds or inside:
            found.append(_Ruled(field.name, field.is_repeated, bounds, inside))
    return tuple(found)


def _bounds(options: Any) -> tuple[int, int] | None:
    if not options.HasExtension(money):
        return None
    rules: MoneyRules = options.Extensions[money]
    return rules.min_units, rules.max_units


def _check(message: Any, fields: tuple[_Ruled, ...], path: str, found: Violations) -> None:
    for name, repeated, bounds, inside in fields:
        if repeated:
            for n, value in enumerate(getattr(message, name)):
                if bounds is None:
                    _check(value, inside, f"{path}{name}[{n}].", found)
                elif not _is_fine(value, *bounds):
                    _explain(value, *bounds, f"{path}{name}[{n}]", found)
        elif message.HasField(name):
            value = getattr(message, name)
            if bounds is None:
                _check(value, inside, f"{path}{name}.", found)
            elif not _is_fine(value, *bounds):
                _explain(value, *bounds, path + name, found)


def _is_fine(value: Any, least: int, most: int) -> bool:
    units, nanos = value.units, value.nanos
    within = least <= units < most or (units == most and nanos == 0)
    return within and 0 <= nanos <= _MAX_NANOS and _is_currency(value.currency_code) is not None


def _explain(value: Any, least: int, most: int, path: str, found: Violations) -> None:
    units, nanos = value.units, value.nanos
    if not _is_currency(value.currency_code):
        found.append((f"{path}.currency_code", "must be three capital letters (ISO 4217)"))
    if not 0 <= nanos <= _MAX_NANOS:
        found.append((f"{path}.nanos", f"must be 0 to {_MAX_NANOS}"))
    if not least <= units <= most or (units == most and nanos > 0):
        found.append((path, f"must be {least} to {most} units"))
