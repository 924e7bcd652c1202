"""An empty echo, CreateOrder and GetOrder, each with 1 and with 128 calls in flight.

What runs beside the echo: for CreateOrder NATS and the command server, which publishes what it stores; for
GetOrder a query server, and a projector, a command server and a NATS that have nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from bench.filling import fill
from bench.load import Call, Sample, cpu, rates, sample, warm
from bench.orders import create_order, echo_call, get_order
from bench.report import Line, at_least, ratio
from bench.run import Run
from bench.system import System, echo
from bench.turns import in_turns
from bench.watching import wait_until_projected

ORDERS = 10_000
"""Orders that the query server knows."""
MANY = 128
"""Calls in flight, where there are many."""

Samples = dict[tuple[str, int], list[Sample]]
"""By what was called, and the calls in flight."""


def measure(run: Run) -> Sequence[Line]:
    """The rates, and their ratios to the echo."""
    with ExitStack() as stack:
        calls = {
            "echo": echo_call(*stack.enter_context(echo(run.new_folder()))),
            "CreateOrder": _create_order(run, stack),
            "GetOrder": _get_order(run, stack),
        }
        warm(*calls.values())
        measured = {
            (name, in_flight): partial(sample, call, in_flight=in_flight, seconds=run.seconds)
            for in_flight in (1, MANY)
            for name, call in calls.items()
        }
        samples = in_turns(run, measured)
    return [*_rates(samples), *_ratios(samples)]


def _create_order(run: Run, stack: ExitStack) -> Call:
    system = stack.enter_context(System(run.new_folder()))
    _, server = system.start("nats", "command-server")
    return create_order(server, system)


def _get_order(run: Run, stack: ExitStack) -> Call:
    system = stack.enter_context(System(run.new_folder()))
    fill(system.settings.event_database_url, ORDERS)
    *_, server = system.start("nats", "command-server", "projector", "query-server")
    wait_until_projected(system, ORDERS)
    return get_order(server, system, ORDERS)


def _rates(samples: Samples) -> Iterator[Line]:
    for (name, in_flight), found in samples.items():
        yield Line(what=f"{name}, {in_flight} in flight", rounds=rates(found), unit="/s", cpu=cpu(found))


def _ratios(samples: Samples) -> Iterator[Line]:
    for (name, in_flight), found in samples.items():
        if name != "echo":
            empty = samples["echo", in_flight]
            goal = at_least(0.75) if in_flight == MANY else None
            yield ratio(f"{name} ÷ echo, {in_flight} in flight", rates(found), rates(empty), goal)
            yield ratio("… by CPU time", cpu(empty), cpu(found))
