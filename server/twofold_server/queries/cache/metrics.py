"""How often answers came from the cache, told in the log."""

from __future__ import annotations

import asyncio

import structlog

INTERVAL = 10.0
"""Seconds between two lines; nothing is said where nothing was asked."""


class CacheMetrics:
    """Counts what became of queries that could be cached."""

    def __init__(self) -> None:
        self.hits = 0
        """Answered from this process."""
        self.shared_hits = 0
        """Answered from the shared level."""
        self.misses = 0
        """Read from the read store."""

    async def run(self) -> None:
        """Write a line now and then; cancel it to stop."""
        log = structlog.get_logger().bind()
        while True:
            await asyncio.sleep(INTERVAL)
            if counted := self.take():
                log.info("cache", **counted)

    def take(self) -> dict[str, float | int]:
        """What was counted since the last time; empty where nothing was."""
        hits, shared, misses = self.hits, self.shared_hits, self.misses
        self.hits = self.shared_hits = self.misses = 0
        every = hits + shared + misses
        if not every:
            return {}
        rate = round((hits + shared) / every, 3)
        return {"hits": hits, "shared_hits": shared, "misses": misses, "hit_rate": rate}
