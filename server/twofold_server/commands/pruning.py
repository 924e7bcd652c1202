"""Answers to request ids expire: in small batches, so that no command waits for it."""

from __future__ import annotations

import asyncio
import time

import structlog

from twofold_server.errors import Unavailable
from twofold_server.event_store.store import EventStore

BATCH = 500
INTERVAL = 60.0
"""Seconds between two looks."""
PAUSE = 0.05
"""Seconds between two batches."""


async def prune_for_ever(store: EventStore, *, keep_seconds: float, interval: float = INTERVAL) -> None:
    """Delete answers that are older than ``keep_seconds``; cancel it to stop."""
    log = structlog.get_logger().bind()
    while True:
        try:
            pruned = await _prune(store, int((time.time() - keep_seconds) * 1_000_000))
        except Unavailable as error:
            log.warning("request ids not pruned", why=error.message)
        else:
            if pruned:
                log.info("request ids pruned", count=pruned)
        await asyncio.sleep(interval)


async def _prune(store: EventStore, recorded_before: int) -> int:
    total = 0
    while pruned := await store.prune_responses(recorded_before, limit=BATCH):
        total += pruned
        await asyncio.sleep(PAUSE)
    return total
