"""Appending to a log that has many events, beside appending to an empty one.

In process, without gRPC and NATS, so that nothing hides the database: SQLite synced at each commit, 50 new
orders a transaction, each with an event, a request id and an answer. The empty log is a new one each time.
Request ids are random, as most callers make them; and in order of time, as twofold_client makes them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.filling import database_url, fill, in_batches, new_orders, ordered_id, random_id
from bench.report import Line, at_least, number, ratio
from bench.run import Run
from bench.turns import in_turns
from twofold_server.database import open_database
from twofold_server.event_store.sql import SqlEventStore

EVENTS, EVENTS_FULL = 200_000, 5_000_000
"""In the log before anything is measured."""
WARM, APPENDS = 2_000, 20_000
"""Each time: not measured, so that caches are filled, and measured."""
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
    """The rates, and their ratios."""
    count = EVENTS_FULL if run.full else EVENTS
    filled = run.new_folder() / "events.db"
    run.say(f"filling a log with {count:,} events")
    fill(database_url(filled), count)
    kinds = {"random ids": random_id, "ordered ids": ordered_id}
    measured = {
        (log, kind): partial(append_to, file, request_id)
        for kind, request_id in kinds.items()
        for log, file in (("empty", lambda: run.new_folder() / "events.db"), ("full", lambda: filled))
    }
    return list(_lines(in_turns(run, measured), f"{number(count)} events"))


def _lines(samples: dict[tuple[str, str], list[Appended]], full: str) -> Iterator[Line]:
    for (log, kind), found in samples.items():
        what = f"to {full if log == 'full' else 'an empty log'}, {kind}"
        yield Line(what=what, rounds=[f.rate for f in found], unit="/s", cpu=[f.cpu for f in found])
    for kind in ("random ids", "ordered ids"):
        over, under = samples["full", kind], samples["empty", kind]
        what, goal = f"{full} ÷ empty, {kind}", at_least(0.9)
        yield ratio(what, [f.rate for f in over], [f.rate for f in under], goal)
        yield ratio("… by CPU time", [f.cpu for f in under], [f.cpu for f in over])


def append_to(file: Callable[[], Path], request_id: Callable[[], str]) -> Appended:
    """Append new orders to the log in a file, as fast as one writer can."""
    return asyncio.run(_append_to(file(), request_id))


async def _append_to(file: Path, request_id: Callable[[], str]) -> Appended:
    async with open_database(database_url(file)) as database:
        store = await SqlEventStore.open(database)
        order_ids = (ordered_id() for _ in range(WARM + APPENDS))
        batches = list(in_batches(new_orders(store.log_id, order_ids, request_id=request_id), BATCH))
        for batch in batches[: WARM // BATCH]:
            await store.append(batch)
        began, used = time.perf_counter(), time.process_time()
        for batch in batches[WARM // BATCH :]:
            await store.append(batch)
        seconds, used = time.perf_counter() - began, time.process_time() - used
        return Appended(rate=APPENDS / seconds, cpu=used / APPENDS * 1e6)
