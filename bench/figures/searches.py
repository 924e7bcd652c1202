"""SearchOrders with very many orders, beside 10,000.

Orders go to 10,000 people, so a full name finds one order in ten thousand; the city is that of all orders.
One call at a time, the first page; the latency is what ghz sees.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from bench.comparing import few_and_many
from bench.filling import recipient_of
from bench.load import Call
from bench.orders import numbered_id
from bench.processes import Process
from bench.report import Line
from bench.run import Run
from bench.stores import filled
from bench.system import System

FEW, MANY, MANY_FULL = 10_000, 50_000, 1_000_000
_ID = numbered_id(4_711)
QUERIES = {
    "a name": {"query": recipient_of(_ID)},
    "a piece of a name": {"query": recipient_of(_ID)[2:8]},
    "a piece of an id": {"query": _ID[-8:]},
    "a city that all have": {"query": "oxford"},
    "a name, oldest first": {"query": recipient_of(_ID), "order_by": "create_time"},
}


def measure(run: Run) -> Sequence[Line]:
    """Latencies, and their ratios."""
    many = MANY_FULL if run.full else MANY
    return few_and_many(run, partial(_calls, run), few=FEW, many=many, most=5)


def _calls(run: Run, stack: ExitStack, count: int) -> dict[str, Call]:
    system = stack.enter_context(filled(run, count))
    [server] = system.start("query-server")
    return {name: search_call(server, system, body) for name, body in QUERIES.items()}


def search_call(server: Process, system: System, body: Mapping[str, str]) -> Call:
    """A search for the first page."""
    return Call(
        method="shop.orders.v1.QueryService/SearchOrders",
        body=json.dumps(body),
        address=system.settings.query_address,
        server=server,
    )
