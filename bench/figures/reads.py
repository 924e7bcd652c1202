"""GetOrder with the read models on SQLite and on PostgreSQL, without and with a cache, beside an empty echo.

128 calls in flight, for any of 2,000 orders. The cache is that of the process; each time it is asked until it
knows nearly all of them before anything is measured, since answers are kept for a minute only. The PostgreSQL
comes out of a wheel; what it uses itself is not in the CPU of the query server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from bench.comparing import IN_FLIGHT, rate_lines
from bench.filling import fill
from bench.load import Call, Sample, cpu, rates, sample
from bench.orders import echo_call, get_order
from bench.report import Line, at_least, ratio
from bench.run import Run
from bench.stores import Database, on_postgres, sqlite
from bench.system import System, echo
from bench.turns import in_turns
from bench.watching import wait_until_projected

ORDERS = 2_000
UNTIL_KNOWN = 12_000
"""Calls for any of the orders, after which some 5 of them have not been asked for."""


def measure(run: Run) -> Sequence[Line]:
    """The rates, and their ratios to the echo."""
    with ExitStack() as stack:
        calls = {
            "echo": echo_call(*stack.enter_context(echo(run.new_folder()))),
            **{
                f"{name}, {cached}": stack.enter_context(_get_order(run, database, cache=cache))
                for name, database in (("SQLite", sqlite), ("PostgreSQL", on_postgres))
                for cached, cache in (("no cache", "off"), ("cache", "memory"))
            },
        }
        samples = in_turns(run, {name: partial(_warm_sample, run, call) for name, call in calls.items()})
    return list(_lines(samples))


def _warm_sample(run: Run, call: Call) -> Sample:
    sample(call, in_flight=IN_FLIGHT, count=UNTIL_KNOWN)
    return sample(call, in_flight=IN_FLIGHT, seconds=run.seconds)


@contextmanager
def _get_order(run: Run, database: Database, *, cache: str) -> Iterator[Call]:
    with database(run) as settings, System(run.new_folder(), cache=cache, **settings) as system:
        fill(system.settings.event_database_url, ORDERS)
        *_, server = system.start("nats", "command-server", "projector", "query-server")
        wait_until_projected(system, ORDERS)
        yield get_order(server, system, ORDERS)


def _lines(samples: dict[str, list[Sample]]) -> Iterator[Line]:
    yield from rate_lines(samples)
    empty = samples.pop("echo")
    for name, found in samples.items():
        goal = at_least(0.75 if name.endswith("no cache") else 0.9)
        yield ratio(f"{name} ÷ echo", rates(found), rates(empty), goal)
        yield ratio("… by CPU time", cpu(empty), cpu(found))
