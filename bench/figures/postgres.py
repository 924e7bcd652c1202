"""CreateOrder with the log on PostgreSQL, beside an empty echo; 128 calls in flight.

NATS, the command server and a PostgreSQL on the same machine run, with synchronous_commit and fsync on. The
CPU is that of the command server alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from bench.comparing import rate_lines, sampled
from bench.load import cpu, rates, warm
from bench.orders import create_order, echo_call
from bench.postgres import database
from bench.report import Line, at_least, ratio
from bench.run import Run
from bench.system import System, echo


def measure(run: Run) -> Sequence[Line]:
    """Both rates, and their ratio."""
    with ExitStack() as stack:
        echoed = echo_call(*stack.enter_context(echo(run.new_folder())))
        url = stack.enter_context(database(run.new_folder()))
        system = stack.enter_context(System(run.new_folder(), event_database_url=url))
        _, server = system.start("nats", "command-server")
        calls = {"echo": echoed, "CreateOrder, PostgreSQL": create_order(server, system)}
        warm(*calls.values())
        samples = sampled(run, calls)
    empty, created = samples.values()
    return [
        *rate_lines(samples),
        ratio("CreateOrder, PostgreSQL ÷ echo", rates(created), rates(empty), at_least(0.75)),
        ratio("… by CPU time", cpu(empty), cpu(created)),
    ]
