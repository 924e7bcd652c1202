"""GetMonthlySales and GetDailyStatistics with very many orders in the log, beside few.

Every order is paid. The sums are kept by the projector, so a query should not notice how many orders there
are. One call at a time; the latency is what ghz sees.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

from bench.load import Call, Sample, medians, sample, warm
from bench.report import Line, at_most, ratio
from bench.run import Run
from bench.stores import filled
from bench.turns import in_turns

FEW, MANY, MANY_FULL = 1_000, 50_000, 1_000_000


def measure(run: Run) -> Sequence[Line]:
    """Latencies, and their ratios."""
    many = MANY_FULL if run.full else MANY
    with ExitStack() as stack:
        calls = {
            (name, count): call for count in (FEW, many) for name, call in _calls(run, stack, count).items()
        }
        warm(*calls.values())
        samples = in_turns(
            run, {key: partial(sample, call, in_flight=1, seconds=run.seconds) for key, call in calls.items()}
        )
    return list(_lines(samples, many))


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


def _lines(samples: dict[tuple[str, int], list[Sample]], many: int) -> Iterator[Line]:
    for (name, count), found in samples.items():
        yield Line(what=f"{name}, {count:,} orders", rounds=medians(found), unit="ms")
    for name in dict.fromkeys(name for name, _ in samples):
        over, under = samples[name, many], samples[name, FEW]
        yield ratio(f"{name}, {many:,} ÷ {FEW:,} orders", medians(over), medians(under), at_most(1.5))
