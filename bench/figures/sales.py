"""GetMonthlySales and GetDailyStatistics with very many orders in the log, beside few.

Every order is paid. The sums are kept by the projector, so a query should not notice how many orders there
are. One call at a time; the latency is what ghz sees.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

from bench.comparing import few_and_many
from bench.load import Call
from bench.report import Line
from bench.run import Run
from bench.stores import filled

FEW, MANY, MANY_FULL = 1_000, 50_000, 1_000_000


def measure(run: Run) -> Sequence[Line]:
    """Latencies, and their ratios."""
    many = MANY_FULL if run.full else MANY
    return few_and_many(run, partial(_calls, run), few=FEW, many=many, most=1.5)


def _calls(run: Run, stack: ExitStack, count: int) -> dict[str, Call]:
    system = stack.enter_context(filled(run, count, paid=True))
    [server] = system.start("query-server")
    now = datetime.now(UTC)
    today = {"year": now.year, "month": now.month, "day": now.day}
    bodies = {
        "GetMonthlySales": {"year": now.year},
        "GetDailyStatistics": {"from_day": {**today, "day": 1}, "to_day": today},
    }
    return {
        method: Call(
            method=f"shop.orders.v1.QueryService/{method}",
            body=json.dumps(body),
            address=system.settings.query_address,
            server=server,
        )
        for method, body in bodies.items()
    }
