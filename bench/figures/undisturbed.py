"""How long commands take while a projection is built anew and orders are searched for, beside a quiet time.

Commands come at a fifth of their top rate. The log has many orders; a rebuild with one worker goes on all the
while, and eight searches are in flight.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.figures.rebuild import rebuild
from bench.figures.searches import QUERIES, search_call
from bench.load import background, finish, sample, warm
from bench.orders import create_order
from bench.report import Line, at_most, ratio
from bench.run import Run
from bench.stores import filled
from bench.system import System

ORDERS, ORDERS_FULL = 50_000, 1_000_000
SHARE = 1 / 5
"""Of the top rate."""
SEARCHES = 8


def measure(run: Run) -> Sequence[Line]:
    """Latencies of the slowest in a hundred commands, and their ratio."""
    count = ORDERS_FULL if run.full else ORDERS
    quiet: list[float] = []
    disturbed: list[float] = []
    with filled(run, count) as system:
        [server] = system.start("query-server")
        commands = create_order(system.process("command-server"), system)
        search = search_call(server, system, QUERIES["a name"])
        warm(commands, search)
        rate = sample(commands, in_flight=128, seconds=run.seconds).rate * SHARE
        for _ in run.each_round():
            quiet.append(sample(commands, in_flight=32, seconds=run.seconds, rate=rate).p99)
            searching = background(search, in_flight=SEARCHES, seconds=run.seconds + 1)
            with _rebuilding(system, count):
                disturbed.append(sample(commands, in_flight=32, seconds=run.seconds, rate=rate).p99)
            finish(searching)
    return [
        Line(what="p99, quiet", rounds=quiet, unit="ms"),
        Line(what="p99, rebuild and searches", rounds=disturbed, unit="ms"),
        ratio("rebuild and searches ÷ quiet", disturbed, quiet, at_most(1.5)),
    ]


@contextmanager
def _rebuilding(system: System, count: int) -> Iterator[None]:
    """A rebuild goes on while the block runs, or at least for most of it; it is waited for."""
    address = system.settings.projector_address
    work = threading.Thread(target=rebuild, args=(address, count), kwargs={"workers": 1})
    work.start()
    try:
        yield
    finally:
        work.join()
