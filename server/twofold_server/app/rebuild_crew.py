"""Workers of a rebuild as child processes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from twofold_server.end_with_parent import ending_with_parent
from twofold_server.projections.crew import WorkersFailed
from twofold_server.projections.parts import Part
from twofold_server.settings import Settings

NICE = 10
"""Workers give way to what else runs in the same session, or on a machine that does not share by sessions.
They must not starve: on SQLite all that write the read store wait for each other."""

_WORKER = "twofold_server.app.rebuild_worker"


class ProcessCrew:
    """See Crew."""

    def __init__(self, settings: Settings) -> None:
        """The workers get the same settings."""
        self._settings = settings

    async def fold(self, parts: Sequence[Part], *, pause: float, tell: Callable[[int, int], None]) -> None:
        """See Crew."""
        left = [part for part in parts if part.position < part.target]
        try:
            async with asyncio.TaskGroup() as group:
                for part in left:
                    group.create_task(self._work(part, pause, tell))
        except* WorkersFailed as failed:
            raise failed.exceptions[0] from None

    async def _work(self, part: Part, pause: float, tell: Callable[[int, int], None]) -> None:
        ours, theirs = socket.socketpair()  # of a pipe uvloop would close the descriptor twice
        with theirs:
            process = self._start({"part": asdict(part), "pause": pause, "nice": NICE}, theirs)
        with process:
            try:
                reader, writer = await asyncio.open_connection(sock=ours)
                with closing(writer):
                    async for line in reader:
                        tell(part.part, int(line))
                code = await asyncio.to_thread(process.wait)
            finally:
                process.kill()
        if code != 0:
            raise WorkersFailed(f"the worker of part {part.part} ended with exit code {code}")

    def _start(self, what: dict[str, Any], stdout: socket.socket) -> subprocess.Popen[bytes]:
        # Not by the event loop: uvloop forks, and the handlers that gRPC has for this crash one child in ten
        # while calls are under way. This does not, and takes a millisecond.
        return subprocess.Popen(
            ending_with_parent([sys.executable, "-m", _WORKER, json.dumps(what)]),
            env={**os.environ, **self._settings.as_environment()},
            stdin=subprocess.DEVNULL,
            stdout=stdout.fileno(),
            start_new_session=True,  # Ctrl-C reaches the projector, which ends its workers in its own time
        )
