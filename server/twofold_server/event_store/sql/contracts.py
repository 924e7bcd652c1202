"""The contract history: the descriptors that stored events were written under."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, delete, inspect, select
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from twofold_server.database import Database
from twofold_server.event_store.sql import read
from twofold_server.event_store.sql.sets import is_in
from twofold_server.event_store.sql.tables import accepted_contracts as table
from twofold_server.event_store.sql.tables import events
from twofold_server.messages.descriptors import EventDescriptors

Visit = Callable[[str, int, bytes], None]
"""Takes the type, the revision and the data of a stored event; may run in another thread."""
AT_A_TIME = 500
"""Events in memory."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which version of a package's events was accepted last."""

    hash: str
    """The hash of its descriptors."""
    context: str
    """The context that read them; see EventDescriptors."""
    accepted_at: int
    """When, in microseconds since 1970 UTC."""


class ContractHistory:
    """The accepted contract of each proto package, beside the events; and these, to look through them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_kept(self) -> bool:
        """Whether this log has a contract history; one of an older Twofold gets it when that is updated."""
        return await self._database.read(lambda c: inspect(c).has_table(table.name))

    async def accepted(self) -> Mapping[str, Accepted]:
        """The accepted versions by package: one short read."""
        return await self._database.read(_accepted)

    async def descriptors(self, packages: Collection[str]) -> Mapping[str, EventDescriptors]:
        """The accepted descriptors of some packages."""
        return await self._database.read(partial(_descriptors, packages=packages))

    async def accept(self, contracts: Collection[EventDescriptors], *, forget: Collection[str] = ()) -> None:
        """Replace the descriptors of these packages, and forget those of others."""
        if contracts or forget:
            await self._database.write(partial(_accept, contracts=contracts, forget=forget), patient=True)

    async def head(self) -> int:
        """The position of the log's last event."""
        return await self._database.read(read.read_head)

    async def look_through(
        self, after_position: int, to_position: int, type_names: Collection[str], visit: Visit
    ) -> None:
        """Visit the events of some types after a position, up to and with another, a few at a time."""
        await self._database.read(
            partial(_look_through, after=after_position, to=to_position, type_names=type_names, visit=visit)
        )


def _accepted(connection: Connection) -> dict[str, Accepted]:
    columns = (table.c.package, table.c.hash, table.c.context, table.c.accepted_at)
    return {package: Accepted(*version) for package, *version in connection.execute(select(*columns))}


def _descriptors(connection: Connection, packages: Collection[str]) -> dict[str, EventDescriptors]:
    columns = (table.c.package, table.c.descriptors, table.c.context)
    wanted = select(*columns).where(is_in(connection, table.c.package, packages))
    return {row.package: EventDescriptors(*row) for row in connection.execute(wanted)}


def _accept(connection: Connection, contracts: Collection[EventDescriptors], forget: Collection[str]) -> None:
    if forget:
        connection.execute(delete(table).where(is_in(connection, table.c.package, forget)))
    # Two servers may start at the same moment: an upsert, so that neither fails.
    upsert = (sqlite_insert if connection.dialect.name == "sqlite" else postgres_insert)(table)
    changed = {c.name: upsert.excluded[c.name] for c in table.columns if not c.primary_key}
    now = time.time_ns() // 1000
    rows = [
        {
            "package": each.package,
            "hash": each.hash,
            "descriptors": each.content,
            "context": each.context,
            "accepted_at": now,
        }
        for each in contracts
    ]
    if rows:
        connection.execute(upsert.on_conflict_do_update(index_elements=["package"], set_=changed), rows)


def _look_through(
    connection: Connection, after: int, to: int, type_names: Collection[str], visit: Visit
) -> None:
    # Not whole events: millions may have to be looked through before a server can start.
    query = (
        select(events.c.type_name, events.c.revision, events.c.data)
        .where(events.c.position > after, events.c.position <= to)
        .where(is_in(connection, events.c.type_name, type_names))
    )
    with connection.execute(query, execution_options={"yield_per": AT_A_TIME}) as rows:
        for type_name, revision, data in rows:
            visit(type_name, revision, data)
