"""What hits a cluster while it works. Each blow is over when its method returns."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterator

from tests.e2e.cluster.processes import Cluster, CommandServer

Blow = tuple[str, Callable[[], Awaitable[None]]]
"""Its name, and what it does."""
LONGER_THAN_A_SESSION_MAY_IDLE = 4.0


class Blows:
    """Deals blows to the command servers, their networks, PostgreSQL and NATS."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance

    def __iter__(self) -> Iterator[Blow]:
        """One after the other, without end; each kind once before any comes again."""
        while True:
            kinds: list[Blow] = [
                ("a server killed", self.kill),
                ("a server killed", self.kill),
                ("a server frozen", self.freeze),
                ("connections cut", self.cut),
                ("connections cut", self.cut),
                ("answers of PostgreSQL lost", self.lose_answers),
                ("a network silent", self.silence),
                ("PostgreSQL restarted", self.restart_postgres),
                ("NATS killed", self.kill_nats),
            ]
            self._chance.shuffle(kinds)
            yield from kinds

    async def kill(self) -> None:
        """Kill a server, and start it again a moment later."""
        server = self._one()
        await server.program.kill()
        await self._moment(1)
        server.start()

    async def freeze(self) -> None:
        """Stop a server in the middle of whatever it does, perhaps for longer than its session may idle."""
        server = self._one()
        if server.program.exit_code is None:
            server.program.send(signal.SIGSTOP)
            await self._moment(LONGER_THAN_A_SESSION_MAY_IDLE)
            server.thaw()

    async def cut(self) -> None:
        """Break all connections of a server to PostgreSQL."""
        self._one().network.cut()

    async def lose_answers(self) -> None:
        """Let a server ask and PostgreSQL work, but lose the answers."""
        network = self._one().network
        network.answers.flows.clear()
        await self._moment(0.3)
        network.cut()
        network.resume()

    async def silence(self) -> None:
        """Let nothing through for a while, then all of it; or never, and cut."""
        network = self._one().network
        network.pause()
        await self._moment(2)
        if self._chance.random() < 0.5:
            network.cut()
        network.resume()

    async def restart_postgres(self) -> None:
        """Stop PostgreSQL, and start it again a moment later."""
        self._cluster.stop_postgres()
        await self._moment(1)
        self._cluster.start_postgres()

    async def kill_nats(self) -> None:
        """Kill NATS, and start it again a moment later."""
        self._cluster.nats.kill()
        await self._moment(1)
        await self._cluster.nats.start()

    def _one(self) -> CommandServer:
        return self._chance.choice(self._cluster.servers)

    async def _moment(self, at_most: float) -> None:
        await asyncio.sleep(self._chance.uniform(0, at_most))
