"""``column IN (values)`` with one constant statement text, however many values there are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, Text, any_, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY


def values_in(dialect: Dialect, name: ColumnElement[Any], parameter: str = "wanted") -> ColumnElement[bool]:
    """A condition that a text column is one of the values bound to a parameter."""
    if dialect.name == "sqlite":
        each = func.json_each(bindparam(parameter, type_=Text)).table_valued(column("value", Text))
        return name.in_(select(each.c.value))
    return name == any_(bindparam(parameter, type_=ARRAY(Text)))


class Values:
    """What to bind to that parameter."""

    def __init__(self, dialect: Dialect) -> None:
        self._as_json = dialect.name == "sqlite"

    def bind(self, values: Iterable[str]) -> object:
        """The values as the dialect wants them: a JSON text or a list."""
        return json.dumps(list(values)) if self._as_json else list(values)


def is_in(connection: Connection, name: ColumnElement[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """A condition that a text column is one of these values."""
    parameter = f"wanted_{name.key}"
    condition = values_in(connection.dialect, name, parameter)
    return condition.params({parameter: Values(connection.dialect).bind(values)})
