"""Months and days as requests name them and as tables hold them: 202611 and 20261120."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from google.type.date_pb2 import Date

from twofold_server.modelling import InvalidRequest

FIRST_MONTH, LAST_MONTH = 1, 9999_12
FIRST_DAY = 1_01_01


def month_number(name: str, month: Date) -> int:
    """The number of a month in a request field; raises InvalidRequest where it is none."""
    if month.day or not (1 <= month.year <= 9999 and 1 <= month.month <= 12):
        raise wrong(name, "must be a month: a year, a month from 1 to 12, and day 0")
    return month.year * 100 + month.month


def day_of(name: str, day: Date) -> date:
    """The day in a request field; raises InvalidRequest where there is no such day."""
    try:
        return date(day.year, day.month, day.day)
    except ValueError:
        raise wrong(name, "must be a day of the calendar: year, month and day") from None


def day_number(day: date) -> int:
    """The number of a day."""
    return day.year * 10_000 + day.month * 100 + day.day


def start_of_day(number: int) -> int:
    """When a day begins, in microseconds since 1970 UTC."""
    day = datetime(number // 10_000, number // 100 % 100, number % 100, tzinfo=UTC)
    return (day - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def month_shown(number: int) -> Date:
    """A month as answers show it."""
    return Date(year=number // 100, month=number % 100)


def day_shown(number: int) -> Date:
    """A day as answers show it."""
    return Date(year=number // 10_000, month=number // 100 % 100, day=number % 100)


def wrong(name: str, why: str, *, reason: str = "INVALID_PERIOD") -> InvalidRequest:
    """What to raise for a request field that keeps the rules of the contract, and cannot be answered."""
    return InvalidRequest(f"{name}: {why}", violations=[(name, why)], reason=reason)
