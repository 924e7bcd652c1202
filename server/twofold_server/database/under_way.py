"""Work that is finished although its caller gives up, and that a close waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from twofold_server.database.translation import unavailable

T = TypeVar("T")


class WorkUnderWay:
    """The work of one database that is not finished."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of the work; raises Unavailable when this is closed."""
        if self._closed:
            work.close()
            raise unavailable()
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Take no more work, and wait for what there is."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks)
