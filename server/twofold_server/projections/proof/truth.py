"""What rows should be where a read model stands, out of a few streams of the log."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from twofold_server.event_store.events import RecordedEvent
from twofold_server.projections.proof.replay import Place, Replay
from twofold_server.projections.proof.shapes import Key, Shape, Values
from twofold_server.projections.proof.stored import Stand
from twofold_server.projections.sources import StreamLog

EVERYTHING = (1 << 63) - 1


class Truth(Protocol):
    """Rows as the log has them."""

    async def at(self, stand: Stand, shape: Shape, keys: Collection[Key]) -> Mapping[Key, Values]:
        """The rows with these keys where the read model stands; raises LogAway, Unavailable."""


class StreamTruth:
    """The rows of some streams, each folded by itself."""

    def __init__(self, replay: Replay, log: StreamLog, streams: Iterable[str]) -> None:
        self._replay = replay
        self._log = log
        self._histories: dict[str, list[RecordedEvent]] = {name: [] for name in streams}

    async def load(self) -> None:
        """Read what the log has of the streams beyond what is known."""
        for name, events in self._histories.items():
            events += await self._log.read_stream(name, after=len(events))

    def rows(self, *, up_to: int = EVERYTHING, left_out: Collection[int] = ()) -> dict[Place, Values]:
        """All rows of the streams, as their events up to a position make them."""
        found: dict[Place, Values] = {}
        for name, events in self._histories.items():
            found |= self._replay.rows(name, (e for e in events if e.position <= up_to), left_out)
        return found

    async def at(self, stand: Stand, shape: Shape, keys: Collection[Key]) -> Mapping[Key, Values]:
        """See Truth."""
        await self.load()
        rows = self.rows(up_to=stand.position, left_out=stand.left_out)
        return {key: rows[shape, key] for key in keys if (shape, key) in rows}
