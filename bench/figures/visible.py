"""From an acknowledged command to a query that shows it, by its token, at a fifth of the top load.

NATS, command server, projector and query server run, and a load generator creates orders at a fifth of the
rate that they reach at most. Beside it one caller creates an order and reads it back with the token of the
receipt; the time is that of the query. The echo is called in the same way under a fifth of its own top load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from bench.caller import echo_latencies, visible_latencies
from bench.load import Call, background, finish, sample, warm
from bench.orders import create_order, echo_call
from bench.report import Line, at_most, ratio
from bench.run import Run
from bench.system import System, echo

SHARE = 1 / 5
"""Of the top load."""


def measure(run: Run) -> Sequence[Line]:
    """Latencies, and their ratios to the echo's."""
    with ExitStack() as stack:
        echoed = echo_call(*stack.enter_context(echo(run.new_folder())))
        system = stack.enter_context(System(run.new_folder()))
        _, server, _, _ = system.start("nats", "command-server", "projector", "query-server")
        created = create_order(server, system)
        warm(echoed, created)
        tops = {call: sample(call, in_flight=128, seconds=run.seconds).rate for call in (echoed, created)}
        echoes: list[float] = []
        shown: list[list[float]] = []
        for _ in run.each_round():
            with _load(echoed, tops[echoed] * SHARE, run.seconds):
                echoes.append(median(echo_latencies(echoed.address, run.seconds)))
            with _load(created, tops[created] * SHARE, run.seconds):
                shown.append(visible_latencies(system.settings, run.seconds))
    middle, slow = [median(each) for each in shown], [_p99(each) for each in shown]
    return [
        Line(what="echo, median", rounds=echoes, unit="ms"),
        Line(what="visible, median", rounds=middle, unit="ms"),
        Line(what="visible, p99", rounds=slow, unit="ms"),
        ratio("visible, median ÷ echo, median", middle, echoes, at_most(10)),
        ratio("visible, p99 ÷ echo, median", slow, echoes, at_most(40)),
    ]


@contextmanager
def _load(call: Call, rate: float, seconds: float) -> Iterator[None]:
    """Call at a rate while the block runs, which takes this long."""
    running = background(call, in_flight=32, seconds=seconds + 1, rate=rate)
    try:
        yield
    finally:
        finish(running)


def _p99(latencies: Sequence[float]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.99)]
