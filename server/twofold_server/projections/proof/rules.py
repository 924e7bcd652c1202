"""Rules across read models, checked where all of them stand at one position of the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import Connection

from twofold_server.database import Database
from twofold_server.modelling import Rule
from twofold_server.projections.fold import Fold
from twofold_server.projections.proof.differences import Difference, FieldDifference, Kind, shown
from twofold_server.projections.proof.stored import Stand, read_stand
from twofold_server.projections.proof.walk import Walk

PATIENCE = 10.0
"""Seconds that the read models of a rule are given to meet at one position."""
_PAUSE = 0.02


class NotChecked(Exception):
    """A rule could not be checked; says why."""


class Rules:
    """Checks rules, with the folds of their read models kept still for a moment."""

    def __init__(
        self, database: Database, rules: Sequence[Rule], fold_of: Callable[[str], Fold | None]
    ) -> None:
        """``fold_of`` gives the fold of a projection; None where this projector does not run it."""
        self._database = database
        self._rules = rules
        self._fold_of = fold_of

    def about(self, projection: str) -> list[Rule]:
        """The rules that read a projection."""
        return [rule for rule in self._rules if projection in rule.projections]

    async def check(self, rule: Rule, walk: Walk) -> list[Difference]:
        """What does not hold, as one difference or none; the walk goes on to where the read models meet.

        Raises NotChecked, LogAway, Unavailable.
        """
        async with self._meeting(rule) as stands:
            stand = stands[walk.projection]  # the others are of builds with numbers of their own
            await walk.go(stand)
            applied = walk.counts - await walk.types_at(stand.left_out)
            counts = {each: applied[each.DESCRIPTOR.full_name] for each in rule.counts}
            pairs = await self._database.read(lambda c: _pairs(c, rule, counts, stand))
        fields = tuple(
            FieldDifference(what, shown(stored), shown(expected))
            for what, (expected, stored) in pairs.items()
            if expected != stored
        )
        if not fields:
            return []
        return [Difference(kind=Kind.RULE, rule=rule.name, position=stand.position, fields=fields)]

    @asynccontextmanager
    async def _meeting(self, rule: Rule) -> AsyncIterator[Mapping[str, Stand]]:
        """Where each of the rule's read models stands, all at one position; nothing is applied inside."""
        folds = self._folds(rule)
        give_up = time.monotonic() + PATIENCE
        while True:
            async with AsyncExitStack() as stack:
                for fold in folds:
                    await stack.enter_async_context(fold.still())
                stands = await self._database.read(lambda c: _stands(c, rule))
                if len({stand.position for stand in stands.values()}) == 1:
                    _check_same_events(rule, stands.values())
                    yield stands
                    return
            if time.monotonic() > give_up:
                raise NotChecked(f"{' and '.join(rule.projections)} did not meet at one position")
            await asyncio.sleep(_PAUSE)

    def _folds(self, rule: Rule) -> list[Fold]:
        # In one order everywhere: two checks must not wait for each other.
        found = {name: self._fold_of(name) for name in sorted(rule.projections)}
        for name, fold in found.items():
            if fold is None or not fold.is_mine:
                raise NotChecked(f"projection {name} is not kept by this projector")
        return [fold for fold in found.values() if fold is not None]


def _stands(connection: Connection, rule: Rule) -> dict[str, Stand]:
    return {name: read_stand(connection, name) for name in rule.projections}


def _pairs(
    connection: Connection, rule: Rule, counts: Mapping[type[Message], int], stand: Stand
) -> Mapping[str, tuple[Any, Any]]:
    if any(now.position != stand.position for now in _stands(connection, rule).values()):
        raise NotChecked("another projector took over meanwhile")
    try:
        return rule.pairs(connection, counts)
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:  # a row holds what nobody expects
        raise NotChecked(f"it cannot be worked out: {type(error).__name__}: {error}") from error


def _check_same_events(rule: Rule, stands: Iterable[Stand]) -> None:
    if len({stand.left_out for stand in stands}) > 1:
        names = " and ".join(rule.projections)
        raise NotChecked(f"not the same events are parked or skipped in {names}")
