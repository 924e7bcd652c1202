"""Read models that know many orders before anything is measured, filled by a projector from the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.filling import fill
from bench.report import number
from bench.run import Run
from bench.system import System
from bench.watching import wait_until_projected


@contextmanager
def filled(run: Run, count: int, *, paid: bool = False) -> Iterator[System]:
    """A system whose read models know so many orders; its query server is yet to be started."""
    with System(run.new_folder()) as system:
        run.say(f"filling read models with {number(count)} orders")
        fill(system.settings.event_database_url, count, paid=paid)
        system.start("nats", "command-server", "projector")
        wait_until_projected(system, count * (2 if paid else 1))
        yield system
