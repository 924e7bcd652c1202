"""Starts roles in order, keeps them running, stops them in the opposite order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from twofold_server.supervision.child import Child, Role


class StartFailed(Exception):
    """A role did not come up; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class SupervisorConfig:
    """How patient the supervisor is."""

    patience_seconds: float = 60
    """After which time it is told that a role is still not ready; told again as often as that passes. It is
    waited for all the same: to end a role that migrates a long log would make it begin again."""
    stop_seconds: float = 15
    """How long a role may take to stop before it is killed."""
    first_pause_seconds: float = 0.5
    """The pause before a role that died is started again; doubled each time it dies again."""
    longest_pause_seconds: float = 30
    """The longest such pause."""
    steady_seconds: float = 60
    """A role that ran this long starts with the first pause again."""


class Supervisor:
    """The roles of one machine. ``say`` is given lines for people."""

    def __init__(
        self, roles: Sequence[Role], config: SupervisorConfig, *, say: Callable[[str], None]
    ) -> None:
        self._roles = roles
        self._config = config
        self._say = say
        self._children: dict[str, Child] = {}

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Run all roles until ``stop`` is set; ``hurry`` cuts the stopping short. No child is left.

        Raises StartFailed when a role does not come up.
        """
        try:
            await _unless(stop, self._start_and_watch())
        finally:
            await _unless(hurry, self._stop_in_order())
            await asyncio.gather(*(child.kill() for child in self._children.values()))

    async def _start_and_watch(self) -> None:
        for role in self._roles:
            child = await self._start(role)
            if not await self._until_ready(child):
                raise StartFailed(_why(child))
            self._say(f"{role.name:<16}{role.endpoint}")
        self._say("ready")
        await asyncio.gather(*(self._keep_running(role) for role in self._roles))

    async def _start(self, role: Role) -> Child:
        child = self._children[role.name] = await Child.start(role)
        return child

    async def _until_ready(self, child: Child) -> bool:
        """Wait until a role is ready; False when it ended before that."""
        began = asyncio.get_running_loop().time()
        while not await child.until_ready(self._config.patience_seconds):
            if child.ended is not None:
                return False
            waited = asyncio.get_running_loop().time() - began
            self._say(f"{child.role.name} is not ready after {waited:.0f} s; it is waited for")
        return True

    async def _keep_running(self, role: Role) -> None:
        clock = asyncio.get_running_loop().time
        child, pause = self._children[role.name], self._config.first_pause_seconds
        while True:
            started = clock()
            code = await child.wait()
            if clock() - started > self._config.steady_seconds:
                pause = self._config.first_pause_seconds
            self._say(f"{role.name} {_ended(code)}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._config.longest_pause_seconds)
            child = await self._start(role)
            if await self._until_ready(child):
                self._say(f"{role.name} is back")

    async def _stop_in_order(self) -> None:
        for role in reversed(self._roles):
            child = self._children.get(role.name)
            if child is not None and not await child.stop(self._config.stop_seconds):
                self._say(f"{role.name} did not stop within {self._config.stop_seconds:g} s and was killed")


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, unless an event comes first; then the work is cancelled."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)


def _why(child: Child) -> str:
    role = child.role
    what = _ended(child.ended or 0)
    if role.log is None or not role.log.exists():
        return f"{role.name} {what} while starting; it says why above"
    last = "\n".join(role.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
    return f"{role.name} {what} while starting. The end of {role.log}:\n{last}"


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
