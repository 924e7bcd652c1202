"""The log in batches of a good size, read ahead while the last one is being written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from twofold_server.projections.sources import LogBatch, PartitionBatch

B = TypeVar("B", bound=LogBatch | PartitionBatch)

BATCH = 1000
"""Events in one transaction: as many as are read at a time or a few more, so that others get their turn."""
AHEAD = 2
"""Batches that are read while one is being written."""


async def read_ahead(
    batches: AsyncGenerator[B, None], *, last: Callable[[B], bool] = lambda batch: False
) -> AsyncGenerator[B, None]:
    """The same pieces of the log, put together; no more is read after one that is the ``last``.

    Raises what reading raises, when all that was read before has been given.
    """
    ready: asyncio.Queue[B | Exception | None] = asyncio.Queue(AHEAD)
    reading = asyncio.create_task(_read(batches, last, ready))
    try:
        while (batch := await ready.get()) is not None:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def _read(
    batches: AsyncGenerator[B, None],
    last: Callable[[B], bool],
    ready: asyncio.Queue[B | Exception | None],
) -> None:
    held: B | None = None
    failed: Exception | None = None
    try:
        async with aclosing(batches):
            async for batch in batches:
                joined = _joined(held, batch)
                held = None if (full := len(joined.events) >= BATCH) else joined
                if full:
                    await ready.put(joined)
                if last(batch):
                    break
    except Exception as error:
        failed = error
    if held is not None:
        await ready.put(held)
    await ready.put(failed)


def _joined(held: B | None, batch: B) -> B:
    return batch if held is None else replace(batch, events=[*held.events, *batch.events])
