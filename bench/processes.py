"""Processes that are measured: each ends with the bench, however that ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from twofold_server.end_with_parent import ending_with_parent

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A running process, and what it has used so far."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    def cpu_seconds(self) -> float:
        """CPU time of all its threads since its start, in user and kernel mode."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mb(self) -> float:
        """Its resident memory, in MB (10^6 bytes)."""
        line = next(line for line in self._proc("status").splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024 / 1e6

    def wait_until(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it is ready; raises BenchError when it ended or is too slow."""
        end = time.monotonic() + _START_SECONDS
        while not asyncio.run(_answer(ready)):
            if self._process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"{self.name} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ask it to stop, and wait."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _proc(self, file: str) -> str:
        return Path(f"/proc/{self._process.pid}/{file}").read_text()


async def _answer(ready: Callable[[], Awaitable[bool]]) -> bool:
    return await ready()


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    *,
    ready: Callable[[], Awaitable[bool]],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """Run a command until the block ends; it logs to a file in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    with open(log, "ab") as output:
        started = subprocess.Popen(
            ending_with_parent(command),
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    process = Process(name, started, log)
    try:
        process.wait_until(ready)
        yield process
    finally:
        process.stop()
