"""What the write side counts, and tells in the log."""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

from twofold_server.event_store.group_commit import CommitStatistics

INTERVAL = 10.0
"""Seconds between two lines; nothing is said where nothing happened."""


class CommandMetrics:
    """Counts commands by outcome and time, and commits by size and time."""

    def __init__(self, commits: CommitStatistics) -> None:
        self._commits = commits
        self._outcomes: Counter[str] = Counter()
        self._seconds: list[float] = []

    def count(self, outcome: str, seconds: float) -> None:
        """Count a command."""
        self._outcomes[outcome] += 1
        self._seconds.append(seconds)

    async def run(self) -> None:
        """Write a line now and then; cancel it to stop."""
        log = structlog.get_logger().bind()
        while True:
            await asyncio.sleep(INTERVAL)
            if self._seconds:
                log.info("metrics", **self.take())

    def take(self) -> dict[str, float | int]:
        """What was counted since the last time."""
        seconds, self._seconds = sorted(self._seconds), []
        outcomes, self._outcomes = self._outcomes, Counter()
        return {
            "commands": len(seconds),
            "p50_ms": _quantile_ms(seconds, 0.5),
            "p99_ms": _quantile_ms(seconds, 0.99),
            **self._commits.take(),
            **{outcome.lower(): count for outcome, count in outcomes.items()},
        }


def _quantile_ms(ordered: list[float], q: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1000, 2) if ordered else 0.0
