"""Read models that know many orders before anything is measured, filled by a projector from the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from bench import postgres
from bench.filling import fill
from bench.report import number
from bench.run import Run
from bench.system import System
from bench.watching import wait_until_projected

Database = Callable[[Run], AbstractContextManager[dict[str, str]]]
"""The settings of a system whose read models are in a certain kind of database."""


@contextmanager
def sqlite(_: Run) -> Iterator[dict[str, str]]:
    """In a file of the system's own."""
    yield {}


@contextmanager
def on_postgres(run: Run) -> Iterator[dict[str, str]]:
    """In a PostgreSQL out of a wheel, which ends with the block."""
    with postgres.database(run.new_folder()) as url:
        yield {"read_database_url": url}


@contextmanager
def filled(
    run: Run, count: int, *, paid: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[System]:
    """A system whose read models know so many orders; its query server is yet to be started."""
    with System(run.new_folder(), **(settings or {})) as system:
        run.say(f"filling read models with {number(count)} orders")
        fill(system.settings.event_database_url, count, paid=paid)
        system.start("nats", "command-server", "projector")
        wait_until_projected(system, count * (2 if paid else 1))
        yield system
