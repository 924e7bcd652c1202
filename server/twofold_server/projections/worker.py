"""What one worker of a rebuild does: read its partitions of the log, fold them, up to its target."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import structlog

from twofold_server.errors import Unavailable
from twofold_server.projections.part_fold import PartFold
from twofold_server.projections.reading import read_ahead
from twofold_server.projections.sources import LogAway, PartitionedLog

RETRY_SECONDS = 0.5


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
    part = fold.part
    batches = read_ahead(
        log.read_partitions(part.position, part.partitions), last=lambda batch: batch.reach >= part.target
    )
    async with aclosing(batches):
        async for batch in batches:
            await fold.apply(batch.events, batch.reach)
            tell(fold.part.position)
            await asyncio.sleep(pause)
