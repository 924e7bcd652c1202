"""What hits the system in the middle of its work."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator

import psutil

from tests.e2e.conditions import until
from tests.e2e.programs import Program
from tests.e2e.systems import ROLES, SERVING, System, role_process

HEALTH = (
    ("command-server", "shop.orders.v1.CommandService"),
    ("command-server", "twofold.relay"),
    ("projector", "twofold.projector"),
    ("query-server", "shop.orders.v1.QueryService"),
)
"""All that must be SERVING after a blow."""


class Running:
    """A system under `twofold up`, which is started again whenever it was killed."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._up: Program | None = None
        self._hit_at_start = False

    @property
    def up(self) -> Program:
        """The `up` that runs now."""
        assert self._up is not None
        return self._up

    async def start(self) -> None:
        """Run `up`, without waiting until it is ready."""
        self._up = self.system.start("up")
        self._hit_at_start = False

    async def kill_role(self, role: str) -> None:
        """Kill one role."""
        process = await until(lambda: role_process(self.up, role), f"{role} is there")
        self._hit_at_start = "ready" not in self.up.out
        _kill(process)

    async def kill_up(self) -> None:
        """Kill `up`, and with it everything."""
        await self.up.kill()
        await until(lambda: not self.system.processes(), "all roles have ended with `up`")
        await self.start()

    async def kill_all(self) -> None:
        """Kill every process at once."""
        for process in self.up.children():
            _kill(process)
        await self.kill_up()

    async def recovered(self) -> None:
        """Wait until every service is SERVING again."""
        await until(self._serves, lambda: f"everything serves again: {self.up.told[-4000:]}", seconds=120)

    async def _serves(self) -> bool:
        if self.up.exit_code is not None:
            # A role that dies while `up` starts for the first time ends it, as it should.
            assert self._hit_at_start, self.up.told[-4000:]
            await self.start()
        for role, service in HEALTH:
            if await self.system.health(role, service) != SERVING:
                return False
        return True


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself just now
        process.kill()


Blow = tuple[str, Callable[[], Awaitable[None]]]
"""Its name, and what it does."""


def blows(running: Running, chance: random.Random) -> Iterator[Blow]:
    """One blow after the other, without end; each kind once before any comes again."""
    while True:
        kinds: list[Blow] = [(role, _killing(running, role)) for role in ROLES]
        kinds += [("all at once", running.kill_all), ("up", running.kill_up)]
        chance.shuffle(kinds)
        yield from kinds


def _killing(running: Running, role: str) -> Callable[[], Awaitable[None]]:
    return lambda: running.kill_role(role)
