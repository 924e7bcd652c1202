"""The proofs of all read models that a projector keeps."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from twofold_server.database import Database
from twofold_server.errors import InvalidRequest, NotFound
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Projection, Rule
from twofold_server.projections.fold import Fold
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.proof.explain import Story
from twofold_server.projections.proof.findings import Finding
from twofold_server.projections.proof.repair import Repair
from twofold_server.projections.proof.rules import Rules
from twofold_server.projections.proof.shapes import Key, Shape, shapes_of
from twofold_server.projections.proof.verifier import Verifier
from twofold_server.projections.sources import StreamLog


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to verify of a projection: all rows, a sample, or the rows of some streams."""

    projection: str
    """Its name."""
    sample: int = 0
    """About how many rows, chosen at random; 0 is all."""
    streams: Sequence[str] = ()
    """Only the rows of these streams; empty does not limit."""
    mend: bool = False
    """Whether to write rows anew that differ."""


class Proofs:
    """Finds the verifier of a projection."""

    def __init__(
        self,
        *,
        database: Database,
        projections: Sequence[Projection],
        rules: Sequence[Rule],
        codec: EventCodec,
        log: StreamLog,
        fold_of: Callable[[str], Fold],
        notices: ProgressNotices,
    ) -> None:
        """``fold_of`` gives the fold that writes what queries read of a projection."""
        names = {projection.name for projection in projections}
        known = Rules(database, rules, lambda name: fold_of(name) if name in names else None)
        self._projections = {projection.name: projection for projection in projections}
        self.verifiers = {
            name: Verifier(
                database=database,
                projection=projection,
                codec=codec,
                log=log,
                repair=Repair(database, partial(fold_of, name), notices),
                rules=known,
            )
            for name, projection in self._projections.items()
        }
        """By the name of the projection."""

    def verify(self, wanted: Wanted) -> AsyncGenerator[Finding, None]:
        """See Verifier; raises NotFound."""
        verifier = self._verifier(wanted.projection)
        if wanted.streams:
            return verifier.verify_streams(wanted.streams, mend=wanted.mend)
        if wanted.sample:
            return verifier.verify_sample(wanted.sample, mend=wanted.mend)
        return verifier.verify_all(mend=wanted.mend)

    async def explain(self, projection: str, table: str, key: Sequence[str]) -> Story:
        """See Verifier; the key as text, the table by its name. Raises NotFound and InvalidRequest."""
        verifier = self._verifier(projection)
        shapes = shapes_of(self._projections[projection].tables)
        table = table or next(iter(shapes))
        if table not in shapes:
            there_are = ", ".join(shapes)
            raise NotFound(
                f"projection {projection} has no table {table}; it has {there_are}", reason="TABLE_NOT_FOUND"
            )
        return await verifier.explain(shapes[table], parsed(shapes[table], key))

    def _verifier(self, projection: str) -> Verifier:
        if projection not in self.verifiers:
            raise NotFound(
                f"there is no projection {projection}; there are {', '.join(sorted(self.verifiers))}",
                reason="PROJECTION_NOT_FOUND",
                metadata={"projection": projection},
            )
        return self.verifiers[projection]


def parsed(shape: Shape, key: Sequence[str]) -> Key:
    """A key out of text; raises InvalidRequest."""
    columns = shape.key_columns
    names = ", ".join(column.name for column in columns)
    if len(key) != len(columns):
        raise InvalidRequest(
            f"the key of table {shape.name} is {names}: {len(columns)} value(s), not {len(key)}",
            violations=[("key", f"give {names}")],
        )
    try:
        return tuple(_value(column.type.python_type, text) for column, text in zip(columns, key, strict=True))
    except (ValueError, ArithmeticError):
        raise InvalidRequest(
            f"{', '.join(key)} is no key of table {shape.name}, which is {names}",
            violations=[("key", f"is not of the type of {names}")],
        ) from None


def _value(kind: type[Any], text: str) -> Any:
    if kind in (int, float, Decimal):
        return kind(text)
    if kind is bytes:
        return bytes.fromhex(text.removeprefix("0x"))
    return kind.fromisoformat(text) if hasattr(kind, "fromisoformat") else text
