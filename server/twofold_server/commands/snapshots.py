"""States go to the store now and then, out of the way of commands."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Any

import msgspec
import structlog

from twofold_server.errors import Unavailable
from twofold_server.event_store.snapshots import Snapshot
from twofold_server.event_store.store import EventStore
from twofold_server.modelling import Decider

BATCH = 500
"""Snapshots that are written together at most: commands wait while a transaction writes."""
PAUSE = 0.05
"""Seconds between two writes: snapshots wait so that commands do not wait for them."""
MAX_WAITING = 10_000
"""Streams whose snapshots wait; beyond it new ones are dropped, the events have it all."""


class Snapshots:
    """Takes snapshots of committed states and writes them in the background."""

    def __init__(self, store: EventStore, *, every: int) -> None:
        """``every`` is how many events lie between two snapshots of a stream, unless its decider says."""
        self._store = store
        self._every = every
        self._waiting: dict[str, tuple[Decider[Any], int, Any]] = {}
        self._news = asyncio.Event()

    def due(self, decider: Decider[Any], before: int, after: int) -> bool:
        """Whether a snapshot is due when a stream goes from one version to another."""
        every = self._every if decider.snapshot_every is None else decider.snapshot_every
        return bool(every) and before // every != after // every

    def offer(self, stream_name: str, decider: Decider[Any], version: int, state: Any) -> None:
        """Take the state after a commit, to be written soon."""
        if stream_name in self._waiting or len(self._waiting) < MAX_WAITING:
            self._waiting[stream_name] = (decider, version, state)
            self._news.set()

    def _take(self) -> dict[str, tuple[Decider[Any], int, Any]]:
        taken = {name: self._waiting.pop(name) for name in list(islice(self._waiting, BATCH))}
        if self._waiting:
            self._news.set()
        return taken

    async def run(self) -> None:
        """Write for ever; cancel it to stop."""
        log = structlog.get_logger().bind()
        while True:
            await self._news.wait()
            self._news.clear()
            waiting = self._take()
            try:
                await self._store.write_snapshots([_snapshot(name, *each) for name, each in waiting.items()])
            except Unavailable as error:
                log.warning("snapshots not stored", streams=len(waiting), why=error.message)
            except Exception as error:  # a state that cannot be encoded must not end all snapshots
                log.error("snapshots not stored", streams=len(waiting), exc_info=error)
            await asyncio.sleep(PAUSE)


def restore(decider: Decider[Any], snapshot: Snapshot) -> Any | None:
    """The state of a snapshot; None where it has another shape than today's state."""
    try:
        return msgspec.msgpack.decode(snapshot.state, type=type(decider.initial_state()))
    except msgspec.MsgspecError as error:
        structlog.get_logger().warning(
            "snapshot passed over; raise state_revision when a state changes",
            stream_name=snapshot.stream_name,
            why=str(error),
        )
        return None


def _snapshot(stream_name: str, decider: Decider[Any], version: int, state: Any) -> Snapshot:
    return Snapshot(stream_name, version, decider.state_revision, msgspec.msgpack.encode(state))
