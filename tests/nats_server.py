"""A real NATS server for tests: on a free port, in a folder of its own, to be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from twofold_server.end_with_parent import ending_with_parent
from twofold_server.supervision.nats import nats_command


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class NatsServer:
    """A nats-server process with JetStream; what it stored survives ``kill`` and ``start``."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it answers, which pytest's timeout bounds."""
        self._begin()
        while not await self._answers():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def _begin(self) -> None:
        self._process = subprocess.Popen(ending_with_parent(nats_command(self._folder, self.port)))

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                return (await reader.readline()).startswith(b"INFO")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return False

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.asynccontextmanager
async def nats_server(*, started: bool = True) -> AsyncIterator[NatsServer]:
    """A server in a temporary folder, gone at the end."""
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder))
        try:
            if started:
                await server.start()
            yield server
        finally:
            server.kill()
