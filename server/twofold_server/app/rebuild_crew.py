"""Workers of a rebuild as child processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from twofold_server.end_with_parent import ending_with_parent
from twofold_server.projections.crew import WorkersFailed
from twofold_server.projections.parts import Part
from twofold_server.settings import Settings

NICE = 5
"""Workers give way to the servers of the same machine."""

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
        what = {"part": asdict(part), "pause": pause}
        process = await asyncio.create_subprocess_exec(
            *ending_with_parent([sys.executable, "-m", _WORKER, json.dumps(what)]),
            env={**os.environ, **self._settings.as_environment()},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the projector, which ends its workers in its own time
        )
        give_way(process.pid)
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                tell(part.part, int(line))
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code != 0:
            raise WorkersFailed(f"the worker of part {part.part} ended with exit code {code}")


def give_way(pid: int) -> None:
    """Let a process that leads a session run only when the others of this machine leave it the time.

    Linux may share the CPU among sessions first, and among the processes of each only then: there a nice
    value says nothing to the servers, which have sessions of their own. Source: sched(7), autogrouping.
    """
    with contextlib.suppress(OSError):  # it has ended, or there are no autogroups
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
        Path(f"/proc/{pid}/autogroup").write_text(str(NICE), encoding="ascii")
