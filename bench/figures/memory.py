"""The memory of a command server that has seen many orders.

NATS and the command server run; each order is created over gRPC, 128 calls in flight. MB are 10^6 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.load import sample
from bench.orders import create_order
from bench.report import Line, at_most
from bench.run import Run
from bench.system import System

ORDERS, ORDERS_FULL = 50_000, 1_000_000
CHUNK = 50_000
"""Orders in one run of the load generator, which keeps a record of each call."""


def measure(run: Run) -> Sequence[Line]:
    """Resident memory before and after; measured once, whatever the rounds."""
    count = ORDERS_FULL if run.full else ORDERS
    with System(run.new_folder()) as system:
        _, server = system.start("nats", "command-server")
        before = server.resident_mb()
        for done in range(0, count, CHUNK):
            run.say(f"{done:,} of {count:,} orders")
            sample(create_order(server, system), in_flight=128, count=min(CHUNK, count - done))
        after = server.resident_mb()
    return [
        Line(what="at the start", rounds=[before], unit="MB"),
        Line(what=f"after {count:,} orders", rounds=[after], unit="MB", goal=at_most(200)),
    ]
