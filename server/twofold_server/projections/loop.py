"""One projection kept up to date: hints from the broker, the log for everything else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog

from twofold_server.database.turns import Turns
from twofold_server.errors import StartupError, Unavailable
from twofold_server.event_store.events import RecordedEvent
from twofold_server.projections.checkpoints import TakenOver
from twofold_server.projections.fold import Fold
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.parking import ParkingFold, Patience
from twofold_server.projections.reading import read_ahead
from twofold_server.projections.redelivery import Redelivery
from twofold_server.projections.sources import Hints, LogAway, LogBatch, StreamLog, gapless


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How patient a projector is; all in seconds."""

    silence: float = 1.0
    """After this long without an event from the broker, the log is looked at."""
    stalled: float = 10.0
    """After this long without progress or certainty, the projector says that it is not serving."""
    retry: float = 0.1
    """The pause after a first failure; it doubles with each further one."""
    max_retry: float = 5.0
    """The longest pause after a failure."""

    def allowing(self, delay: float) -> Pace:
        """The same for a projection that stands still so long on purpose."""
        return replace(self, stalled=self.stalled + delay)


class ProjectionLoop:
    """Applies every event of the log to one projection, until cancelled.

    A cancelled loop finishes the batch under way.
    """

    def __init__(
        self,
        *,
        fold: Fold,
        log: StreamLog,
        hints: Hints,
        notices: ProgressNotices,
        pace: Pace,
        patience: Patience,
        read_size: int,
        turns: Turns | None = None,
    ) -> None:
        """``read_size`` is the number of events that one call to the log asks for. Without ``turns`` this is
        the only one that works on the projection, and ends when it is not."""
        self._fold = fold
        self._parking = ParkingFold(fold, patience)
        self._redelivery = Redelivery(fold=fold, log=log)
        self._log = log
        self._hints = hints
        self._notices = notices
        self._pace = pace
        self._read_size = read_size
        self._turns = turns
        self._stands_by = False
        self._logger = structlog.get_logger().bind(projection=fold.name)
        self._head = 0
        self._has_looked = False
        self._failures = 0
        self._contradiction = ""
        self._why = "it has just begun"
        self._sure_at = time.monotonic()

    @property
    def redelivery(self) -> Redelivery:
        """What can be done about dead letters."""
        return self._redelivery

    @property
    def fold(self) -> Fold:
        """What it applies events to."""
        return self._fold

    @property
    def build(self) -> int:
        """The number of the build that it feeds; 0 before it has begun."""
        return self._fold.checkpoint.build if self._fold.is_mine else 0

    @property
    def position(self) -> int:
        """The position of the last event that was applied; 0 before it has begun."""
        return self._fold.position if self._fold.is_mine else 0

    @property
    def is_level(self) -> bool:
        """Whether it has applied every event that it knows of, and has asked the log at least once."""
        return self._has_looked and self.position >= self._head

    @property
    def head(self) -> int:
        """The last position of the log, as far as this loop knows."""
        return self._head

    @property
    def stands_by(self) -> bool:
        """Whether another projector works on the projection, and this one takes over when that ends."""
        return self._stands_by

    @property
    def trouble(self) -> str:
        """Why the projection is not being kept up to date, in plain words; empty while it is.

        Nothing is wrong with one that stands by.
        """
        if self._stands_by and self._turns is not None:
            return self._turns.trouble and f"it stands by for {self._fold.name}: {self._turns.trouble}"
        if not self._fold.is_mine:
            return f"projection {self._fold.name} has not started: {self._why}"
        if self._contradiction:
            return self._contradiction
        quiet = time.monotonic() - self._sure_at
        if quiet < self._pace.stalled:
            return ""
        at = f"projection {self._fold.name} is at position {self._fold.position}, the log at {self._head}"
        return f"{at}; no progress for {quiet:.0f} s: {self._parking.trouble or self._why}"

    async def run(self) -> None:
        """Raises StartupError where the projection cannot or must not go on.

        TakenOver is among these where there are no turns; where there are, it stands by again.
        """
        if self._turns is None:
            await self._work()
            return
        while True:
            standing_by = asyncio.create_task(self._stand_by())
            try:
                async with self._turns.turn(self._fold.name):
                    standing_by.cancel()
                    self._stands_by = False
                    await self._work()
            except TakenOver as error:
                self._logger.warning("projection taken over by another projector", why=str(error))
                await asyncio.sleep(self._pace.retry)
            finally:
                standing_by.cancel()

    async def _stand_by(self) -> None:
        await asyncio.sleep(self._pace.silence)
        self._stands_by = True
        self._logger.info("standing by for projection")

    async def _work(self) -> None:
        self._sure_at = time.monotonic()
        try:
            while True:
                try:
                    await self._go_on()
                except StartupError:
                    raise
                except Exception as error:  # a store failed: told by health, tried again
                    await self._pause_after(error)
        finally:
            await self._parking.close()
            await self._hints.close()
            self._fold.let_go()

    async def _go_on(self) -> None:
        if not self._fold.is_mine:
            await self._take_over()
        else:
            await self._fold.refresh()  # the transaction that failed may have been committed
        await self._look_at_log()
        while True:
            await self._step()
            _heed_cancellation()

    async def _take_over(self) -> None:
        found = await self._fold.find()
        log_id = found.log_id if found is not None else await self._ask_log_id()
        await self._fold.take_over(log_id)
        self._parking.begin()
        self._hints.follow(log_id)
        self._logger.info("projection taken over", position=self._fold.position)

    async def _ask_log_id(self) -> str:
        async with aclosing(self._log.read(0, limit=1)) as batches:
            return (await anext(batches)).log_id

    async def _step(self) -> None:
        """Take what the broker brings; look at the log for what it does not bring."""
        before = self._fold.position
        events = await self._hints.next(before, self._pace.silence)
        await self._apply(gapless(events, after=before))
        reach = max((event.position for event in events), default=0)
        self._head = max(self._head, reach)
        hole = reach > self._fold.position
        if events and not hole:
            return
        if await self._look_at_log():
            if not events and self._fold.position > before:
                self._hints.reset()
        elif hole:
            self._hints.reset()
            await asyncio.sleep(self._pace.retry)
        elif not self._hints.trouble:
            self._be_sure()

    async def _look_at_log(self) -> bool:
        """Apply all that the log has beyond the checkpoint; False where the log is away."""
        try:
            before = -1
            while before < self._fold.position < self._head or before < 0:
                before = self._fold.position
                async with aclosing(read_ahead(self._log.read(before, limit=self._read_size))) as batches:
                    async for batch in batches:
                        self._check(batch)
                        await self._apply(batch.events)
        except LogAway as error:
            self._why = str(error)
            self._hints.look_failed()
            return False
        self._be_sure()
        # Told again although nothing is new: the notice of the last batch may have been lost.
        await self._notices.tell(self._fold.checkpoint)
        return True

    async def _apply(self, events: Sequence[RecordedEvent]) -> None:
        if not events:
            return
        self._head = max(self._head, events[-1].position)
        await self._parking.apply(events, head=self._head)
        self._failures = 0
        self._sure_at = time.monotonic()
        await self._notices.tell(self._fold.checkpoint, self._fold.written)

    def _check(self, batch: LogBatch) -> None:
        mine = self._fold.checkpoint
        if batch.log_id != mine.log_id:
            raise StartupError(
                f"projection {mine.projection} is filled from event log {mine.log_id}, but the command "
                f"server now has log {batch.log_id}; use another read database, or remove this one to build "
                "it anew"
            )
        self._contradiction = ""
        self._has_looked = True
        if batch.head < mine.position:
            self._contradiction = (
                f"projection {mine.projection} is at position {mine.position}, but the log ends at "
                f"{batch.head}: it was restored from a backup; remove the read database to build it anew"
            )
        self._head = batch.head

    def _be_sure(self) -> None:
        """Nothing is known that was not applied."""
        if self._fold.position >= self._head:
            self._sure_at = time.monotonic()

    async def _pause_after(self, error: Exception) -> None:
        self._why = f"{type(error).__name__}: {error}"
        expected = isinstance(error, LogAway | Unavailable)
        trace = None if expected or self._failures else error  # once is enough
        self._logger.warning("projection held up", why=self._why, exc_info=trace)
        pause = min(self._pace.retry * 2**self._failures, self._pace.max_retry)
        self._failures = min(self._failures + 1, 20)
        await asyncio.sleep(pause * random.uniform(0.5, 1))


def _heed_cancellation() -> None:
    """Before Python 3.12 `asyncio.wait_for`, which the NATS client uses, may swallow a cancellation."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
