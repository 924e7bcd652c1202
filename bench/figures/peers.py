"""A projector that has everything to do yet, beside a projection of pyeventsourcing with as many events.

pyeventsourcing 9.5 keeps its log in PostgreSQL (it has no subscriptions on SQLite) and folds into a SQLite
table, one event a transaction. Twofold's projector folds all read models of the shop, from JetStream, into
SQLite; events are the same orders of three lines.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from sqlalchemy import make_url

from bench import postgres
from bench.errors import BenchError
from bench.figures.catch_up import project
from bench.filling import fill
from bench.report import Line, ratio
from bench.run import Run
from bench.system import System
from bench.watching import wait_until_published

EVENTS, THEIRS = 20_000, 3_000
"""Theirs are fewer, since writing and folding them takes much longer."""


def measure(run: Run) -> Sequence[Line]:
    """Both rates, and their ratio."""
    ours: list[float] = []
    theirs: list[float] = []
    with System(run.new_folder()) as system:
        fill(system.settings.event_database_url, EVENTS)
        system.start("nats", "command-server")
        wait_until_published(system, EVENTS)
        for _ in run.each_round():
            ours.append(project(system, EVENTS)[0])
            theirs.append(_pyeventsourcing(run))
    return [
        Line(what="projector, all read models", rounds=ours, unit="/s"),
        Line(what="pyeventsourcing, one table", rounds=theirs, unit="/s"),
        ratio("projector ÷ pyeventsourcing", ours, theirs),
    ]


def _pyeventsourcing(run: Run) -> float:
    folder = run.new_folder()
    with postgres.database(run.new_folder()) as url:
        socket = make_url(url).query["host"]
        command = [sys.executable, "-m", "bench.pyeventsourcing", str(socket), "bench", str(THEIRS)]
        done = subprocess.run([*command, str(folder / "view.db")], capture_output=True, check=False)
    if done.returncode:
        raise BenchError(f"pyeventsourcing says: {done.stderr.decode()[-2000:]}")
    return float(json.loads(done.stdout)["rate"])
