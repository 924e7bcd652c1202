"""The manifest of a bounded context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twofold_server.modelling.decider import Decider
from twofold_server.modelling.projection import Projection
from twofold_server.modelling.query import AnyQuery
from twofold_server.modelling.rule import Rule
from twofold_server.modelling.upcaster import Upcaster


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a bounded context brings: one value, exported as ``context`` by the context's folder."""

    package: str
    """The proto package of its contract, for example ``shop.orders.v1``."""
    deciders: Sequence[Decider[Any]] = ()
    """One for each kind of aggregate."""
    projections: Sequence[Projection] = ()
    """Its read models."""
    queries: Sequence[AnyQuery] = ()
    """One for each query RPC."""
    rules: Sequence[Rule] = ()
    """What must hold between its read models and the log."""
    upcasters: Sequence[Upcaster] = ()
    """How its older events are read: one for each type and revision that was written and is no longer."""
