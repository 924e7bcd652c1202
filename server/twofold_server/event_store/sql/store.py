"""The event store on a SQL database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Dialect, select

from twofold_server.database import Database
from twofold_server.event_store.appending import Append, AppendOutcome, StoredResponse
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.filters import EventFilter
from twofold_server.event_store.snapshots import LoadedStream, Snapshot
from twofold_server.event_store.sql import read
from twofold_server.event_store.sql.append import Appender
from twofold_server.event_store.sql.durability import tell_of_risks
from twofold_server.event_store.sql.schema import migrate, require_current
from twofold_server.event_store.sql.snapshotting import Snapshots
from twofold_server.event_store.sql.tables import log_head


class SqlEventStore:
    """An EventStore whose log is a few tables."""

    def __init__(self, database: Database, *, log_id: str, dialect: Dialect) -> None:
        self._database = database
        self._appender = Appender(dialect)
        self._snapshots = Snapshots(dialect)
        self.log_id = log_id

    @classmethod
    async def open(cls, database: Database) -> SqlEventStore:
        """Create or migrate the tables and open the log; raises StartupError for a newer schema."""
        await database.write(migrate, patient=True)
        await database.read(tell_of_risks)
        return await database.read(lambda c: cls(database, log_id=_log_id(c), dialect=c.dialect))

    @classmethod
    async def open_as_it_is(cls, database: Database) -> SqlEventStore:
        """Open a log to read it; raises StartupError where there is none, or one of another schema."""
        await database.read(require_current)
        return await database.read(lambda c: cls(database, log_id=_log_id(c), dialect=c.dialect))

    async def append(self, batch: Sequence[Append]) -> list[AppendOutcome]:
        """See EventStore."""
        return await self._database.write(lambda c: self._appender.append(c, batch))

    async def read_stream(
        self, stream_name: str, *, from_version: int = 1, to_version: int | None = None, limit: int = 1000
    ) -> list[RecordedEvent]:
        """See EventStore."""
        return await self._database.read(
            lambda c: read.read_stream(c, stream_name, from_version, to_version, limit)
        )

    async def load_stream(self, stream_name: str, *, state_revision: int, limit: int = 1000) -> LoadedStream:
        """See EventStore."""
        return await self._database.read(
            lambda c: self._snapshots.load(c, stream_name, state_revision, limit)
        )

    async def write_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """See EventStore."""
        await self._database.write(lambda c: self._snapshots.write(c, snapshots))

    async def stream_version(self, stream_name: str) -> int:
        """See EventStore."""
        return await self._database.read(lambda c: read.stream_version(c, stream_name))

    async def read_events(
        self, after_position: int, *, limit: int = 1000, to_position: int | None = None
    ) -> list[RecordedEvent]:
        """See EventStore."""
        return await self._database.read(lambda c: read.read_events(c, after_position, to_position, limit))

    async def search_events(
        self, after_position: int, wanted: EventFilter, *, to_position: int, limit: int = 1000
    ) -> list[RecordedEvent]:
        """See EventStore."""
        return await self._database.read(
            lambda c: read.search_events(c, after_position, wanted, to_position, limit)
        )

    async def head(self) -> int:
        """See EventStore."""
        return await self._database.read(read.read_head)

    async def find_response(self, request_id: str) -> StoredResponse | None:
        """See EventStore."""
        return await self._database.read(lambda c: read.find_response(c, request_id))

    async def prune_responses(self, recorded_before: int, *, limit: int = 1000) -> int:
        """See EventStore."""
        return await self._database.write(lambda c: read.prune_responses(c, recorded_before, limit))


def _log_id(connection: Connection) -> str:
    log_id: str = connection.execute(select(log_head.c.log_id)).scalar_one()
    return log_id
