"""A worker of a rebuild, as a process: ``python -m twofold_server.app.rebuild_worker <what, as JSON>``.

The settings are those of the environment. Each position that is safe is a line on standard output.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import sys
from collections.abc import Sequence

import uvloop

from twofold_server import logs
from twofold_server.contexts import discover
from twofold_server.database import open_database
from twofold_server.errors import StartupError
from twofold_server.lifecycle import settle
from twofold_server.messages.events import EventCodec
from twofold_server.projections.event_log import open_event_log
from twofold_server.projections.part_fold import PartFold
from twofold_server.projections.parts import Part
from twofold_server.projections.worker import fold_part
from twofold_server.settings import Settings, load_settings

FAILED = 1


def main(arguments: Sequence[str]) -> int:
    """Fold one part; the exit code."""
    faulthandler.enable()
    what = json.loads(arguments[0])
    os.nice(what["nice"])
    settings = load_settings()
    logs.configure(settings.log_format, settings.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(settings, Part(**what["part"]), what["pause"]))
    except StartupError as error:
        print(f"twofold: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    return 0


async def _work(settings: Settings, part: Part, pause: float) -> None:
    contexts = discover(settings.contexts)
    known = {projection.name: projection for context, _ in contexts for projection in context.projections}
    async with (
        open_database(settings.read_database_url, synchronous="NORMAL", readers=1) as database,
        open_event_log(settings.command_address) as log,
    ):
        fold = PartFold(
            database=database,
            projection=known[part.projection],
            codec=EventCodec([contract for _, contract in contexts]),
            part=part,
        )
        settle()
        await fold_part(fold, log, tell=_tell, pause=pause)


def _tell(position: int) -> None:
    print(position, flush=True)  # noqa: T201


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    # Threads of gRPC outlive the event loop, and may crash an interpreter that takes itself apart.
    os._exit(code)
