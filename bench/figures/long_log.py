"""Appending to a log that has many events, beside appending to an empty one.

In process, without gRPC and NATS, so that nothing hides the database: SQLite synced at each commit, 50 new
orders a transaction, each with an event, a random request id and an answer. The empty log is a new one in
each round.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uuid_utils import uuid7

from bench.filling import database_url, fill, in_batches, new_orders
from bench.report import Line, at_least, number, ratio
from bench.run import Run
from bench.turns import in_turns
from twofold_server.database import open_database
from twofold_server.event_store.sql import SqlEventStore

EVENTS, EVENTS_FULL = 200_000, 5_000_000
"""In the log before anything is measured."""
WARM, APPENDS = 2_000, 20_000
"""In each round: not measured, so that caches are filled, and measured."""
BATCH = 50
"""Appends in one transaction."""


@dataclass(frozen=True, kw_only=True)
class Appended:
    """One round."""

    rate: float
    """Appends a second."""
    cpu: float
    """CPU microseconds an append."""


def measure(run: Run) -> Sequence[Line]:
    """Both rates, and their ratio."""
    count = EVENTS_FULL if run.full else EVENTS
    filled = run.new_folder() / "events.db"
    run.say(f"filling a log with {count:,} events")
    fill(database_url(filled), count)
    samples = in_turns(
        run,
        {
            "an empty log": lambda: append_to(run.new_folder() / "events.db"),
            f"a log of {number(count)} events": lambda: append_to(filled),
        },
    )
    empty, full = ([each.rate for each in found] for found in samples.values())
    return [
        *(
            Line(what=f"to {name}", rounds=[f.rate for f in found], unit="/s", cpu=[f.cpu for f in found])
            for name, found in samples.items()
        ),
        ratio(f"{number(count)} events ÷ empty", full, empty, at_least(0.9)),
    ]


def append_to(file: Path) -> Appended:
    """Append new orders to the log in a file, as fast as one writer can."""
    return asyncio.run(_append_to(file))


async def _append_to(file: Path) -> Appended:
    async with open_database(database_url(file)) as database:
        store = await SqlEventStore.open(database)
        orders = new_orders(store.log_id, (str(uuid7()) for _ in range(WARM + APPENDS)))
        batches = list(in_batches(orders, BATCH))
        for batch in batches[: WARM // BATCH]:
            await store.append(batch)
        began, used = time.perf_counter(), time.process_time()
        for batch in batches[WARM // BATCH :]:
            await store.append(batch)
        seconds, used = time.perf_counter() - began, time.process_time() - used
        return Appended(rate=APPENDS / seconds, cpu=used / APPENDS * 1e6)
