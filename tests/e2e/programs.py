"""Processes that tests start: their output is kept, they end with the test, whatever happens to it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.e2e.conditions import until
from twofold_server.end_with_parent import ending_with_parent


class Program:
    """A process with its output in two files."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, name: str
    ) -> None:
        """Start it; ``folder`` is where its output goes."""
        self.name = name
        self._out = folder / f"{name}.out"
        self._err = folder / f"{name}.err"
        with open(self._out, "ab") as out, open(self._err, "ab") as err:
            self._process = psutil.Popen(
                ending_with_parent(command),
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    @property
    def exit_code(self) -> int | None:
        """Its exit code (negative: minus the signal), or None while it runs."""
        code: int | None = self._process.poll()
        return code

    @property
    def out(self) -> list[str]:
        """The lines of its standard output so far."""
        return self._out.read_text(encoding="utf-8", errors="replace").splitlines()

    @property
    def err(self) -> list[str]:
        """The lines of its standard error so far."""
        return self._err.read_text(encoding="utf-8", errors="replace").splitlines()

    @property
    def told(self) -> str:
        """All that it said, for the message of a test that fails."""
        return "\n".join([f"--- {self.name}, standard output", *self.out, "--- standard error", *self.err])

    def children(self) -> list[psutil.Process]:
        """Its descendants."""
        try:
            found: list[psutil.Process] = self._process.children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return found

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def said(self, line: str, *, seconds: float = 60) -> None:
        """Wait until a line of its standard output is this; fails when it ends before."""
        await until(
            lambda: line in self.out or self.exit_code is not None,
            lambda: f"{line!r} is said: {self.told}",
            seconds=seconds,
        )
        assert line in self.out, self.told

    async def ended(self, *, seconds: float = 60) -> int:
        """Wait until it has ended; its exit code."""
        await until(
            lambda: self.exit_code is not None, lambda: f"{self.name} ends: {self.told}", seconds=seconds
        )
        assert self.exit_code is not None
        return self.exit_code

    async def stop(self, *, seconds: float = 60) -> int:
        """Ask it to end and wait; its exit code."""
        if self.exit_code is None:
            self._process.terminate()
        return await self.ended(seconds=seconds)

    async def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        if self.exit_code is None:
            self._process.kill()
        await self.ended()
