"""``column IN (values)`` with one constant statement text, however many values there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Dialect,
    Text,
    any_,
    bindparam,
    column,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY


class Values:
    """What to bind to the parameter of such a condition."""

    def __init__(self, dialect: Dialect) -> None:
        self._as_json = dialect.name == "sqlite"

    def bind(self, values: Iterable[str]) -> object:
        """The values as the dialect wants them: a JSON text or a list."""
        return json.dumps(list(values)) if self._as_json else list(values)


def values_in(dialect: Dialect, name: ColumnElement[Any], parameter: str = "wanted") -> ColumnElement[bool]:
    """A condition that a text column is one of the values bound to a parameter."""
    return _in(dialect, name, bindparam(parameter, type_=_type(dialect)))


def is_in(connection: Connection, name: ColumnElement[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """A condition that a text column is one of these values."""
    dialect = connection.dialect
    bound = bindparam(name.key, Values(dialect).bind(values), type_=_type(dialect), unique=True)
    return _in(dialect, name, bound)


def rows_in(dialect: Dialect, columns: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
    """A condition that columns of text or of integers together are one of the rows given by ``bind_rows``."""
    if dialect.name == "sqlite":
        each = func.json_each(bindparam("rows", type_=Text)).table_valued(column("value", Text))
        values = [func.json_extract(each.c.value, f"$[{place}]") for place in range(len(columns))]
        return tuple_(*columns).in_(select(*values))
    arrays = [bindparam(f"wanted_{name.key}", type_=ARRAY(name.type)) for name in columns]
    unnested = func.unnest(*arrays).table_valued(*(column(f"value_{n}") for n in range(len(columns))))
    unnested = unnested.render_derived()
    return tuple_(*columns).in_(select(*unnested.c))


def bind_rows(
    dialect: Dialect, columns: Sequence[ColumnElement[Any]], keys: Iterable[Sequence[Any]]
) -> dict[str, object]:
    """What to bind to the parameters of ``rows_in``."""
    rows = list(keys)
    if dialect.name == "sqlite":
        return {"rows": json.dumps(rows)}
    return {f"wanted_{name.key}": [row[place] for row in rows] for place, name in enumerate(columns)}


def _type(dialect: Dialect) -> Any:
    return Text if dialect.name == "sqlite" else ARRAY(Text)


def _in(dialect: Dialect, name: ColumnElement[Any], bound: BindParameter[Any]) -> ColumnElement[bool]:
    if dialect.name == "sqlite":
        each = func.json_each(bound).table_valued(column("value", Text))
        return name.in_(select(each.c.value))
    return name == any_(bound)
