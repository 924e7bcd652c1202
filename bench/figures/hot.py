"""AddOrderItem on one order, beside the same spread over 1,000 orders; 128 calls in flight.

NATS and the command server run.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.comparing import rate_lines, sampled
from bench.filling import fill
from bench.load import rates, warm
from bench.orders import add_item, any_id, numbered_id
from bench.report import Line, at_least, ratio
from bench.run import Run
from bench.system import System

ORDERS = 1_000
"""Orders that the load is spread over."""


def measure(run: Run) -> Sequence[Line]:
    """Both rates, and their ratio."""
    with System(run.new_folder()) as system:
        fill(system.settings.event_database_url, ORDERS + 1)
        _, server = system.start("nats", "command-server")
        calls = {
            "one order": add_item(server, system, numbered_id(ORDERS)),
            "1,000 orders": add_item(server, system, any_id(ORDERS)),
        }
        warm(*calls.values())
        samples = sampled(run, calls)
    hot, spread = samples.values()
    return [
        *rate_lines(samples),
        ratio("one order ÷ 1,000 orders", rates(hot), rates(spread), at_least(0.8)),
    ]
