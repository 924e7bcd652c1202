"""Waiting for what must become true."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

_LOOK_SECONDS = 0.02


async def until(condition: Callable[[], Any], what: str | Callable[[], str], *, seconds: float = 60) -> Any:
    """What the condition gives as soon as that is true; fails after so many seconds, saying ``what``.

    The condition may be awaitable.
    """
    give_up = asyncio.get_running_loop().time() + seconds
    while True:
        found = condition()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        if asyncio.get_running_loop().time() > give_up:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {seconds:g} s in vain until {told}")
        await asyncio.sleep(_LOOK_SECONDS)
