"""A read model that another version of its projection filled is not answered from."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial

from sqlalchemy import Connection

from twofold_server.errors import OtherReadModel, TwofoldError
from twofold_server.queries.read_store import ReadStore
from twofold_server.queries.snapshots import Checkpoint, ReadCheckpoint

LOOK_SECONDS = 1.0
"""How often health looks at the versions, whatever is asked."""


class ReadModelVersions:
    """The versions that this process knows, against those that it finds."""

    def __init__(self, versions: Mapping[str, int], read_checkpoint: ReadCheckpoint) -> None:
        """``versions`` are those of this process's projections, by name."""
        self._versions = versions
        self._read_checkpoint = read_checkpoint
        self._wrong: dict[str, int] = {}

    @property
    def trouble(self) -> str:
        """Which read models are of another version; empty where none is."""
        return "; ".join(str(_other(name, has, self._versions[name])) for name, has in self._wrong.items())

    def read(self, connection: Connection, projection: str) -> Checkpoint | None:
        """See ReadCheckpoint; raises OtherReadModel where another version filled the rows."""
        found = self._read_checkpoint(connection, projection)
        wanted = self._versions.get(projection)
        self._wrong.pop(projection, None)
        if found is not None and wanted is not None and found.version != wanted:
            self._wrong[projection] = found.version
            raise _other(projection, found.version, wanted)
        return found

    async def watch(self, store: ReadStore) -> None:
        """Look at all of them now and then, until cancelled."""
        while True:
            for name in self._versions:
                with contextlib.suppress(TwofoldError):
                    await store.read(partial(self.read, projection=name))
            await asyncio.sleep(LOOK_SECONDS)


def _other(projection: str, has: int, wanted: int) -> OtherReadModel:
    return OtherReadModel(projection, has=has, wanted=wanted)
