"""Many lookups, one read: requests that wait at the same moment are answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

S = TypeVar("S")


class Coalescer(Generic[S]):
    """Collects requests while a read is under way, and answers them all by the next one.

    A read costs two thread switches and a transaction whether it is for one request or for a hundred.
    """

    def __init__(
        self,
        read_all: Callable[[Sequence[Any]], Awaitable[Sequence[S]]],
        *,
        max_batch: int = 500,
        in_flight: int = 2,
    ) -> None:
        """``read_all`` gives an answer for each request, in order; ``in_flight`` reads may run at a time."""
        self._read_all = read_all
        self._max_batch = max_batch
        self._free = in_flight
        self._waiting: list[tuple[Any, asyncio.Future[S]]] = []
        self._called = False
        self._reads: set[asyncio.Task[None]] = set()

    def ask(self, request: Any) -> asyncio.Future[S]:
        """The answer to come; it fails with what ``read_all`` raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[S] = loop.create_future()
        self._waiting.append((request, answer))
        if not self._called and self._free:
            # Not at once: other calls that came with this one are still to be heard in this turn.
            self._called = True
            loop.call_soon(self._start)
        return answer

    def _start(self) -> None:
        self._called = False
        while self._waiting and self._free:
            batch = self._waiting[: self._max_batch]
            del self._waiting[: self._max_batch]
            self._free -= 1
            read = asyncio.create_task(self._read(batch))
            self._reads.add(read)
            read.add_done_callback(self._finished)

    def _finished(self, read: asyncio.Task[None]) -> None:
        self._reads.discard(read)
        self._free += 1
        self._start()

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
