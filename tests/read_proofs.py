"""A log in a list and a read model that is its fold, for the tests of what proves it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from sqlalchemy import Connection

from shop_contexts.orders.projections import orders_projection
from tests.order_histories import History, order_codec
from twofold_server.database import Database
from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import Projection, Rule
from twofold_server.projections.fold import Fold
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.proof.differences import Difference
from twofold_server.projections.proof.findings import Finding, Summary
from twofold_server.projections.proof.repair import Repair
from twofold_server.projections.proof.rules import Rules
from twofold_server.projections.proof.verifier import Verifier
from twofold_server.projections.sources import LogBatch

LOG = "11111111-1111-4111-8111-111111111111"


class ListLog:
    """The log of a history, in batches of a few events."""

    def __init__(self, history: History) -> None:
        self.history = history

    async def read(self, after: int, *, limit: int) -> AsyncGenerator[LogBatch, None]:
        """See EventLog."""
        events = self.history.events[after : after + limit]
        for start in range(0, max(len(events), 1), 50):
            yield LogBatch(LOG, events[start : start + 50], self.history.head)

    async def read_stream(self, name: str, *, after: int = 0) -> list[RecordedEvent]:
        """See StreamLog."""
        return [e for e in self.history.events if e.stream_name == name][after:]


class ReadModel:
    """A projection, its rows, and what proves them."""

    def __init__(
        self, database: Database, projection: Projection = orders_projection, rules: Sequence[Rule] = ()
    ) -> None:
        self.database = database
        self.history = History()
        self.log = ListLog(self.history)
        self.fold = Fold(database=database, projection=projection, codec=order_codec())
        self.verifier = Verifier(
            database=database,
            projection=projection,
            codec=order_codec(),
            log=self.log,
            repair=Repair(database, lambda: self.fold, ProgressNotices(None)),
            rules=Rules(database, rules, lambda name: self.fold if name == projection.name else None),
        )

    async def begin(self) -> None:
        """The projector starts."""
        await self.fold.take_over(LOG)

    async def grow(self, count: int) -> None:
        """Random events happen, and are applied."""
        self.history.grow(count, seed=self.history.head)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Apply all that has happened."""
        await self.fold.apply(self.history.events)

    async def edit(self, statement: Any) -> None:
        """Somebody changes the read store by hand."""

        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self.database.write(work)

    async def verify(self, *, mend: bool = False) -> list[Difference]:
        """What differs, by a fold of the whole log."""
        return await told(self.verifier.verify_all(mend=mend))

    async def verify_sample(self, count: int = 1_000_000, *, mend: bool = False) -> list[Difference]:
        """What differs, by streams."""
        return await told(self.verifier.verify_sample(count, mend=mend))


async def told(findings: AsyncGenerator[Finding, None]) -> list[Difference]:
    """The differences that a proof finds; its summary must agree."""
    found = [each async for each in findings]
    differences = [each for each in found if isinstance(each, Difference)]
    summary = found[-1]
    assert isinstance(summary, Summary)
    assert summary.differences == len(differences)
    assert summary.repaired == sum(each.repaired for each in differences)
    return differences


def paths(differences: Sequence[Difference]) -> set[tuple[str, str, str]]:
    """Kind, table and field of each difference; rows that are missing or too much have no field."""
    return {
        (each.kind, each.table, field)
        for each in differences
        for field in [named.field for named in each.fields] or [""]
    }
