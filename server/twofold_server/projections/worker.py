"""What one worker of a rebuild does: read its partitions of the log, fold them, up to its target."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import structlog

from twofold_server.errors import Unavailable
from twofold_server.event_store.events import RecordedEvent
from twofold_server.projections.part_fold import PartFold
from twofold_server.projections.parts import Part
from twofold_server.projections.sources import LogAway, PartitionBatch, PartitionedLog

BATCH = 1000
"""Events in one transaction: as many as are read at a time or a few more, so that others get their turn."""
AHEAD = 2
"""Batches that are read while one is being written."""
RETRY_SECONDS = 0.5
_Batches = asyncio.Queue[PartitionBatch | LogAway | None]


async def fold_part(
    fold: PartFold, log: PartitionedLog, *, tell: Callable[[int], None], pause: float = 0.0
) -> None:
    """Fold a part up to its target; ``tell`` hears each position that is safe. Raises TakenOver."""
    logger = structlog.get_logger().bind(projection=fold.part.projection, part=fold.part.part)
    await fold.take_over()
    tell(fold.part.position)
    while fold.part.position < fold.part.target:
        try:
            await _fold_once(fold, log, tell, pause)
        except (LogAway, Unavailable) as error:
            logger.warning("rebuild held up", why=str(error))
            await asyncio.sleep(RETRY_SECONDS)
            await fold.take_over()  # the transaction that failed may have been committed


async def _fold_once(fold: PartFold, log: PartitionedLog, tell: Callable[[int], None], pause: float) -> None:
    batches: _Batches = asyncio.Queue(AHEAD)
    reading = asyncio.create_task(_read(fold.part, log, batches))
    try:
        while (batch := await batches.get()) is not None:
            if isinstance(batch, LogAway):
                raise batch
            await fold.apply(batch.events, batch.reach)
            tell(fold.part.position)
            await asyncio.sleep(pause)
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def _read(part: Part, log: PartitionedLog, batches: _Batches) -> None:
    """Read up to the target, in batches of a good size; None or an error comes last."""
    events: list[RecordedEvent] = []
    try:
        async with aclosing(log.read_partitions(part.position, part.partitions)) as found:
            async for batch in found:
                events += batch.events
                if len(events) >= BATCH or batch.reach >= part.target:
                    await batches.put(PartitionBatch(events, batch.reach))
                    events = []
                if batch.reach >= part.target:
                    break
        await batches.put(None)
    except LogAway as error:
        await batches.put(error)
