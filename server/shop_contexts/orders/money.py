"""Exact money: whole billionths of a currency, as Python's unbounded integers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from google.type.money_pb2 import Money

NANOS = 1_000_000_000
"""Billionths in one unit of a currency."""


class Priced(Protocol):
    """Anything with a quantity and the price of one."""

    @property
    def quantity(self) -> int:
        """How many."""

    @property
    def unit_price(self) -> Money:
        """The price of one."""


def to_nanos(money: Money) -> int:
    """The amount in billionths of its currency."""
    return money.units * NANOS + money.nanos


def from_nanos(currency: str, nanos: int) -> Money:
    """The amount of this many billionths; units and nanos have the same sign, as google.type.Money wants."""
    if nanos < 0:
        units, rest = divmod(-nanos, NANOS)
        return Money(currency_code=currency, units=-units, nanos=-rest)
    units, rest = divmod(nanos, NANOS)
    return Money(currency_code=currency, units=units, nanos=rest)


def times(price: Money, quantity: int) -> Money:
    """The price of so many."""
    return from_nanos(price.currency_code, to_nanos(price) * quantity)


def total(items: Iterable[Priced]) -> Money:
    """The sum of all amounts, in the one currency that they share; nothing at all for no items."""
    nanos, currency = 0, ""
    for item in items:
        price = item.unit_price
        nanos += (price.units * NANOS + price.nanos) * item.quantity
        currency = price.currency_code
    return from_nanos(currency, nanos)
