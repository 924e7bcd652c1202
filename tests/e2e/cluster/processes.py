"""Several command servers on one PostgreSQL, with NATS, projector and query server: all real processes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import asyncpg

from tests.commit_pauses import CommitPauses
from tests.e2e.conditions import until
from tests.e2e.ports import lasting_port
from tests.e2e.programs import Program
from tests.e2e.systems import SERVING, System, a_system, health_of
from tests.nats_server import NatsServer, nats_server
from tests.postgres_server import PostgresServer, postgres_server
from tests.tcp_proxy import TcpProxy, proxy_to_socket

LOG, READ = "log", "read"
"""The databases of the log and of the read models."""
_COULD_NOT_START = 2
_COMMANDS = "shop.orders.v1.CommandService"


class CommandServer:
    """One command server, at an address of its own, behind a network of its own to PostgreSQL."""

    def __init__(self, system: System, url: str, network: TcpProxy) -> None:
        self.address = f"127.0.0.1:{lasting_port()}"
        self.network = network
        self._system = system
        self._url = url
        self._program: Program | None = None

    @property
    def program(self) -> Program:
        """The process that runs, or ran last."""
        assert self._program is not None
        return self._program

    def start(self) -> None:
        """Start it, and do not wait."""
        self._program = self._system.start(
            "command-server", command_address=self.address, event_database_url=self._url
        )

    def thaw(self) -> None:
        """Let it go on, wherever a SIGSTOP has stopped it."""
        if self._program is not None and self._program.exit_code is None:
            self._program.send(signal.SIGCONT)

    def revive(self) -> None:
        """Start it again where it gave up, because PostgreSQL was away when it started."""
        if self.program.exit_code is not None:
            assert self.program.exit_code in (_COULD_NOT_START, -signal.SIGKILL), self.program.told
            self.start()

    async def serves(self) -> bool:
        """Whether it takes commands."""
        self.revive()
        return await health_of(self.address, _COMMANDS) == SERVING

    def told(self) -> str:
        """What it said last, for the message of a test that fails."""
        return f"{self.address} serves: {self.program.told[-4000:]}"


class Cluster:
    """The processes of one cluster."""

    def __init__(
        self,
        *,
        system: System,
        servers: list[CommandServer],
        postgres: PostgresServer,
        nats: NatsServer,
        runs: ExitStack,
    ) -> None:
        """``runs`` holds PostgreSQL while it runs."""
        self.system = system
        self.servers = servers
        self.nats = nats
        self.postgres = postgres
        self._runs = runs

    @property
    def addresses(self) -> list[str]:
        """Where the command servers listen."""
        return [server.address for server in self.servers]

    async def start(self) -> None:
        """Start everything, and wait until it serves."""
        await self.start_log()
        history = self.servers[0].address
        await self.system.role("projector", command_address=history)
        await self.system.role("query-server", command_address=history)

    async def start_log(self) -> None:
        """Start PostgreSQL and the command servers, and wait until they serve."""
        self.start_postgres()
        operator = await asyncpg.connect(self.postgres.dsn("postgres"))
        for name in (LOG, READ):
            await operator.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        await operator.close()
        for server in self.servers:
            server.start()
        await self.serves()

    def start_postgres(self) -> None:
        """Start PostgreSQL."""
        self._runs.enter_context(self.postgres.running())

    def stop_postgres(self) -> None:
        """Stop PostgreSQL at once: transactions under way are rolled back, and everybody is told so."""
        self._runs.close()

    def revive(self) -> None:
        """Start servers again that could not start."""
        for server in self.servers:
            server.revive()

    async def serves(self) -> None:
        """Wait until all command servers serve."""
        for server in self.servers:
            await until(server.serves, server.told, seconds=120)

    @asynccontextmanager
    async def commit_pauses(self, *, install: bool = False) -> AsyncIterator[CommitPauses]:
        """The pauses before commits, over a session that ends with the block."""
        operator = await asyncpg.connect(self.postgres.dsn(LOG))
        try:
            yield await CommitPauses.installed(operator) if install else CommitPauses(operator)
        finally:
            await operator.close()

    async def stop(self) -> list[int]:
        """Stop all command servers in order; their exit codes."""
        return list(await asyncio.gather(*(server.program.stop(seconds=60) for server in self.servers)))

    def end(self) -> None:
        """Leave no network frozen behind."""
        for server in self.servers:
            server.network.resume()


@asynccontextmanager
async def a_cluster(folder: Path, *, servers: int) -> AsyncIterator[Cluster]:
    """A cluster of which nothing but NATS runs yet; all of it is ended at the end."""
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(postgres_server(started=False))
        nats = await stack.enter_async_context(nats_server())
        networks = [
            await stack.enter_async_context(proxy_to_socket(postgres.socket)) for _ in range(servers + 1)
        ]
        reads = postgres.url_by_port(READ, networks[0].port)
        runs = stack.enter_context(ExitStack())
        system = await stack.enter_async_context(
            a_system(folder, log_level="warning", nats_url=nats.url, read_database_url=reads)
        )
        cluster = Cluster(
            system=system,
            servers=[
                CommandServer(system, postgres.url_by_port(LOG, network.port), network)
                for network in networks[1:]
            ],
            postgres=postgres,
            nats=nats,
            runs=runs,
        )
        stack.callback(cluster.end)
        yield cluster
