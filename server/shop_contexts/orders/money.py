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
    """The amount of this many billionths."""
    money = Money()
    put_nanos(money, currency, nanos)
    return money


def put_nanos(money: Money, currency: str, nanos: int) -> None:
    """Make a message say this many billionths; units and nanos have the same sign, as google.type.Money
    wants."""
    units, rest = divmod(abs(nanos), NANOS)
    sign = 1 if nanos >= 0 else -1
    money.currency_code, money.units, money.nanos = currency, sign * units, sign * rest


def total(items: Iterable[Priced]) -> Money:
    """The sum of all amounts, in the one currency that they share; nothing at all for no items."""
    nanos, currency = 0, ""
    for item in items:
        price = item.unit_price
        nanos += (price.units * NANOS + price.nanos) * item.quantity
        currency = price.currency_code
    return from_nanos(currency, nanos)
