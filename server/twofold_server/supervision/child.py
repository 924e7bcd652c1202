"""One role as a child process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twofold_server.end_with_parent import ending_with_parent

_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Role:
    """What is to run, and how to see that it does."""

    name: str
    """As in ``twofold <name>``."""
    command: Sequence[str]
    """The program and its arguments."""
    endpoint: str
    """Where it is reached, as people are told."""
    ready: Callable[[], Awaitable[bool]]
    """Whether it does its work by now."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables beside those of this process."""
    log: Path | None = None
    """The file it logs to, where that is not standard error."""


class Child:
    """A running role. Its standard error is this process's own."""

    def __init__(self, role: Role, process: asyncio.subprocess.Process) -> None:
        self.role = role
        self._process = process

    @classmethod
    async def start(cls, role: Role) -> Child:
        """Start the role; it ends with this process, however that ends."""
        process = await asyncio.create_subprocess_exec(
            *ending_with_parent(role.command),
            env={**os.environ, **role.environment},
            stdin=asyncio.subprocess.DEVNULL,
            # Ctrl-C in a terminal reaches this process only, which then stops the roles in order.
            start_new_session=True,
        )
        return cls(role, process)

    @property
    def ended(self) -> int | None:
        """Its exit code (negative: minus the signal), or None while it runs."""
        return self._process.returncode

    async def until_ready(self, seconds: float) -> bool:
        """Wait until it is ready; False when it ended or the time is over before that."""
        end = asyncio.get_running_loop().time() + seconds
        while self.ended is None and asyncio.get_running_loop().time() < end:
            if await self.role.ready():
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await self._process.wait()

    async def stop(self, seconds: float) -> bool:
        """Ask it to stop and wait, then kill it; whether it stopped by itself."""
        if self.ended is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
            return True
        except TimeoutError:
            await self.kill()
            return False

    async def kill(self) -> None:
        """End it at once."""
        if self.ended is None:
            self._process.kill()
        await self._process.wait()
