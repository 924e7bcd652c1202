"""Many lookups, one read: requests that come together are answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

S = TypeVar("S")

LINGER_SECONDS = 0.002
"""How long a read waits for more requests when there is a crowd of them."""
CROWDED = 3
"""So many reads in a row that others already waited for are a crowd."""
WORTH_WAITING = 4
"""Lingering for fewer requests than this is not worth it."""


class Coalescer(Generic[S]):
    """Collects requests while a read is under way, and answers them all by the next one.

    A read costs two thread switches and a transaction, about 300 us of CPU, whether it is for one request
    or for a hundred. A lone request is read for at once. In a crowd each read would still be for the one or
    two requests that came during the read before, and the reads would take all the time: so then it lingers.
    Measured at 128 calls in flight: 1.6 requests a read without that, 11 with it, and 2.6 times the rate.
    """

    def __init__(
        self, read_all: Callable[[Sequence[Any]], Awaitable[Sequence[S]]], *, max_batch: int = 500
    ) -> None:
        """``read_all`` gives an answer for each request, in order."""
        self._read_all = read_all
        self._max_batch = max_batch
        self._waiting: list[tuple[Any, asyncio.Future[S]]] = []
        self._reading: asyncio.Task[None] | None = None
        self._scheduled = False
        self._crowd = 0

    def ask(self, request: Any) -> asyncio.Future[S]:
        """The answer to come; it fails with what ``read_all`` raises."""
        answer: asyncio.Future[S] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._reading is None and not self._scheduled:
            self._schedule()
        return answer

    def _schedule(self) -> None:
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._crowd >= CROWDED:
            loop.call_later(LINGER_SECONDS, self._start)
        else:
            loop.call_soon(self._start)  # after the other calls of this turn

    def _start(self) -> None:
        self._scheduled = False
        batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
        if self._crowd >= CROWDED and len(batch) < WORTH_WAITING:
            self._crowd = 0
        self._reading = asyncio.create_task(self._read(batch))
        self._reading.add_done_callback(self._finished)

    def _finished(self, _: asyncio.Task[None]) -> None:
        self._reading = None
        if self._waiting:
            self._crowd = min(self._crowd + 1, CROWDED)
            self._schedule()
        elif self._crowd < CROWDED:
            self._crowd = 0

    async def _read(self, batch: Sequence[tuple[Any, asyncio.Future[S]]]) -> None:
        try:
            answers = await self._read_all([request for request, _ in batch])
        except asyncio.CancelledError:
            for _, waiting in batch:
                waiting.cancel()
            raise
        except Exception as error:  # told to each who asked
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), answer in zip(batch, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)
