"""A column for whole numbers that no 64 bits can hold, such as sums of money in billionths."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import Dialect, Numeric, String
from sqlalchemy.types import TypeDecorator, TypeEngine

DIGITS = 38


class Whole(TypeDecorator[int]):
    """Exact whole numbers from 0 on, of up to 38 digits, that sort as numbers.

    SQLite has no such type; there it is text of one length, filled up with zeros.
    """

    impl = String(DIGITS)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """See TypeDecorator."""
        return dialect.type_descriptor(String(DIGITS) if dialect.name == "sqlite" else Numeric(DIGITS, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """See TypeDecorator."""
        if value is None:
            return None
        if not 0 <= value < 10**DIGITS:
            raise ValueError(f"a whole number of up to {DIGITS} digits is needed, not {value}")
        return f"{value:0{DIGITS}}" if dialect.name == "sqlite" else Decimal(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """See TypeDecorator."""
        return None if value is None else int(value)
