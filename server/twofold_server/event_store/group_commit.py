"""The one writer of a command server: many commands share one transaction and one sync to disk."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import structlog

from twofold_server.event_store.appending import Append, Appended, AppendOutcome
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.store import EventStore

PATIENCE = 3.0
"""How many times as long as a commit takes a batch waits for callers while the event loop is busy."""
MAX_PATIENCE = 0.02
"""Seconds that it waits for them at most."""
FORGOTTEN = 0.05
"""Seconds after which they are not expected any more."""
FADING = 0.9
"""How fast a commit that took long is forgotten: from one to the next so much of it is left."""

CommitListener = Callable[[Sequence[RecordedEvent]], None]
"""Called on the event loop with the events of each commit, in order of position; must not block."""

_Waiting = tuple[Append, asyncio.Future[AppendOutcome]]
"""An append and where its outcome goes."""


class CommitStatistics:
    """How large batches were, and how long they took."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._seconds = 0.0

    def count(self, size: int, seconds: float) -> None:
        """Count a commit."""
        self._sizes.append(size)
        self._seconds += seconds

    def take(self) -> dict[str, float | int]:
        """What was counted since the last time."""
        sizes, self._sizes = self._sizes, []
        seconds, self._seconds = self._seconds, 0.0
        commits = len(sizes)
        return {
            "commits": commits,
            "mean_batch": round(sum(sizes) / max(1, commits), 1),
            "max_batch": max(sizes, default=0),
            "mean_commit_ms": round(seconds / max(1, commits) * 1000, 2),
        }


class _Recent(NamedTuple):
    """What the last commits let the next batch expect."""

    crowd: int = 1
    """How many callers there were at the last one: those of its batch, and those who came meanwhile."""
    seconds: float = 0.0
    """How long commits take, at most, of late."""
    busy: float = 0.0
    """The share of the time since the one before that the event loop was at work."""
    ended: float = 0.0
    """When the last one ended."""
    worked: float = 0.0
    """The CPU seconds of the event loop's thread until then."""

    def after(self, crowd: int, seconds: float) -> _Recent:
        """The same after another commit."""
        now, worked = time.monotonic(), time.thread_time()
        busy = (worked - self.worked) / max(now - self.ended, 1e-9)
        return _Recent(crowd, max(seconds, FADING * self.seconds), busy, now, worked)

    def patience(self) -> float:
        """For how many seconds it is worth waiting for as many callers as the last time.

        An event loop that is busy takes in their commands meanwhile, so nothing is lost by it.
        """
        if self.crowd < 2 or time.monotonic() - self.ended > FORGOTTEN:
            return 0.0
        return min(PATIENCE * self.busy * self.seconds, MAX_PATIENCE)


class GroupCommit:
    """Takes appends at any time and commits all that wait as one batch.

    While a batch is being committed the next one gathers, so the batches grow with the load and an idle
    server commits at once. A caller that is cancelled leaves its append in the queue: it is committed whole.
    """

    def __init__(
        self, store: EventStore, *, max_batch: int, on_commit: CommitListener, linger: float = 0.0
    ) -> None:
        """``linger`` is how many seconds a batch that is not full waits for more; 0 suits most disks."""
        self.statistics = CommitStatistics()
        self._store = store
        self._linger = linger
        self._began: float | None = None
        self._recent = _Recent()
        self._enough: asyncio.Future[None] | None = None
        self._wanted = 1
        self._max_batch = max_batch
        self._on_commit = on_commit
        self._waiting: deque[_Waiting] = deque()
        self._writer: asyncio.Task[None] | None = None

    def submit(self, append: Append) -> asyncio.Future[AppendOutcome]:
        """Queue an append; the future gives its outcome after the commit, or raises Unavailable."""
        outcome: asyncio.Future[AppendOutcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((append, outcome))
        if self._enough is not None and len(self._waiting) >= self._wanted:
            self._release()
        if self._writer is None:
            self._writer = asyncio.create_task(self._drain(), name="group-commit")
        return outcome

    @property
    def queue_age(self) -> float:
        """For how many seconds the batch under way has been; 0 while nothing waits behind it."""
        return time.monotonic() - self._began if self._waiting and self._began is not None else 0.0

    async def close(self) -> None:
        """Wait until everything that was submitted is committed."""
        while self._writer is not None:
            await asyncio.shield(self._writer)

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch = [self._waiting.popleft() for _ in islice(range(len(self._waiting)), self._max_batch)]
                await self._commit(batch)
        finally:
            self._writer = None

    async def _gather(self) -> None:
        """Give the callers of the last batch time to come again, so that batches do not fall apart.

        A transaction shared by a hundred costs each of them a fraction of one shared by thirty. A lone caller
        never waits.
        """
        patience = max(self._linger, self._recent.patience())
        self._wanted = self._max_batch if self._linger else min(self._recent.crowd, self._max_batch)
        if not patience or len(self._waiting) >= self._wanted:
            return
        loop = asyncio.get_running_loop()
        self._enough = loop.create_future()
        timer = loop.call_later(patience, self._release)
        try:
            await self._enough
        finally:
            timer.cancel()
            self._enough = None

    def _release(self) -> None:
        if self._enough is not None and not self._enough.done():
            self._enough.set_result(None)

    async def _commit(self, batch: list[_Waiting]) -> None:
        appends = [append for append, _ in batch]
        self._began = began = time.monotonic()
        try:
            outcomes = await self._store.append(appends)
        except Exception as error:
            # Whether it was written is open when a connection breaks while committing; either way nobody
            # may build on these decisions any more.
            for append in appends:
                append.basis.broken = True
            _settle(batch, [error] * len(batch))
            return
        finally:
            self._began = None
        took = time.monotonic() - began
        self._recent = self._recent.after(len(appends) + len(self._waiting), took)
        self.statistics.count(len(appends), took)
        self._tell([event for o in outcomes if isinstance(o, Appended) for event in o.events])
        _settle(batch, outcomes)

    def _tell(self, events: Sequence[RecordedEvent]) -> None:
        try:
            self._on_commit(events)
        except Exception:  # it is committed, even where a listener breaks
            structlog.get_logger().exception("a listener of commits failed", events=len(events))


def _settle(batch: list[_Waiting], results: Sequence[AppendOutcome | Exception]) -> None:
    for (_, future), result in zip(batch, results, strict=True):
        if future.done():  # its caller was cancelled
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
