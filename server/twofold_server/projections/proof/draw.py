"""Which rows to look at where not all can be: at random, or one after the other."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from functools import partial

from twofold_server.database import Database
from twofold_server.projections.handlers import Handlers
from twofold_server.projections.proof.replay import Place, Replay
from twofold_server.projections.proof.shapes import Key, Shape
from twofold_server.projections.proof.stored import Stand, read_page, read_some
from twofold_server.projections.sources import EventLog

Drawn = Mapping[str, set[Place]]
"""Streams, each with the rows that are known to be its."""


class Draw:
    """Draws rows of tables that tell the stream of a row, and streams from the log.

    Rows show what is wrong or should not be, streams from the log what is missing.
    """

    def __init__(self, *, database: Database, replay: Replay, handlers: Handlers, log: EventLog) -> None:
        self._database = database
        self._replay = replay
        self._handlers = handlers
        self._log = log
        self._cursors: dict[Shape, Key | None] = {}

    async def at_random(self, stand: Stand, count: int) -> Drawn:
        """About so many rows: one half from the tables, the other from the log."""
        shapes = self._replay.shapes
        share = -(-(count - count // 2) // len(shapes))
        keys = {
            shape: await self._database.read(partial(read_some, shape=shape, count=share)) for shape in shapes
        }
        return await self._with_streams(keys, stand, count // 2)

    async def next(self, stand: Stand, count: int) -> Drawn:
        """The next rows of each table in the order of keys, over and over, and as many from the log."""
        keys = {shape: await self._next_keys(shape, count) for shape in self._replay.shapes}
        return await self._with_streams(keys, stand, count)

    async def _next_keys(self, shape: Shape, count: int) -> list[Key]:
        if shape not in self._cursors:  # a restart does not begin with the same rows each time
            some = await self._database.read(partial(read_some, shape=shape, count=1))
            self._cursors[shape] = next(iter(some), None)
        read = partial(read_page, shape=shape, after=self._cursors[shape], limit=count)
        keys = list(await self._database.read(read))
        self._cursors[shape] = keys[-1] if len(keys) == count else None
        return keys

    async def _with_streams(self, keys: Mapping[Shape, Iterable[Key]], stand: Stand, count: int) -> Drawn:
        drawn: dict[str, set[Place]] = defaultdict(set)
        for shape, found in keys.items():
            for key in found:
                drawn[self._replay.stream_of(shape, key)].add((shape, key))
        for position in random.sample(range(stand.position), min(count, stand.position)):
            async with aclosing(self._log.read(position, limit=1)) as batches:
                for event in (await anext(batches)).events:
                    if self._handlers.handle(event):
                        drawn.setdefault(event.stream_name, set())
        return drawn
