"""How a process runs: one event loop, until a signal asks it to stop."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from twofold_server import logs
from twofold_server.database.translation import in_one_line
from twofold_server.errors import StartupError, Unavailable
from twofold_server.settings import Settings


def run_role(
    settings: Settings, role: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]
) -> None:
    """Run a role until SIGINT or SIGTERM; raises StartupError."""
    faulthandler.enable()  # should a library crash the process, its last words are the stacks
    logs.configure(settings.log_format, settings.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_signal(settings, role))
    except Unavailable as error:
        why = in_one_line(error.__cause__) if error.__cause__ else "it gave no reason"
        raise StartupError(f"{error.message.partition(';')[0]}: {why}") from error


def settle() -> None:
    """Tell the garbage collector that what exists now stays: call it once when a role is ready.

    Otherwise it looks through all modules and descriptors again and again, as hot state grows; measured as
    half of the event loop's time under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _until_signal(
    settings: Settings, role: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await role(settings, stop)
