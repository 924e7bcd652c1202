"""What a single caller waits for CreateOrder, beside an empty echo and one sync of the disk.

NATS and the command server run. The sync is that of one page that is written over, in the same folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from bench.load import Sample, cpu, medians, sample, warm
from bench.machine import sync_seconds
from bench.orders import create_order, echo_call
from bench.report import Line, at_most, ratio
from bench.run import Run
from bench.system import System, echo


def measure(run: Run) -> Sequence[Line]:
    """The latencies, and their ratio."""
    with ExitStack() as stack:
        echoed = echo_call(*stack.enter_context(echo(run.new_folder())))
        system = stack.enter_context(System(run.new_folder()))
        _, server = system.start("nats", "command-server")
        created = create_order(server, system)
        warm(echoed, created)
        echoes: list[Sample] = []
        orders: list[Sample] = []
        syncs: list[float] = []
        for _ in run.each_round():
            echoes.append(sample(echoed, in_flight=1, seconds=run.seconds))
            syncs.append(sync_seconds(run.folder) * 1e3)
            orders.append(sample(created, in_flight=1, seconds=run.seconds))
    floor = [call + sync for call, sync in zip(medians(echoes), syncs, strict=True)]
    return [
        Line(what="echo, median latency", rounds=medians(echoes), unit="ms", cpu=cpu(echoes)),
        Line(what="one sync, median", rounds=syncs, unit="ms"),
        Line(what="CreateOrder, median latency", rounds=medians(orders), unit="ms", cpu=cpu(orders)),
        ratio("CreateOrder ÷ (echo + sync)", medians(orders), floor, at_most(1.5)),
    ]
