"""CreateOrder and GetOrder beside a plain CRUD service with SQLAlchemy's ORM; 128 calls in flight.

The other service (bench/crud_server.py) stores rows and nothing else: one transaction a request, on SQLite,
synced to disk, on the same gRPC server settings. It reads one order that it has just created.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from bench.comparing import rate_lines, sampled
from bench.filling import fill
from bench.load import Call, Sample, cpu, rates, sample, warm
from bench.orders import create_order, get_order, numbered_id, order_body
from bench.processes import running
from bench.report import Line, ratio
from bench.run import Run
from bench.system import System
from bench.watching import wait_until_projected
from twofold_server.supervision.ports import claim
from twofold_server.supervision.readiness import serves_grpc

ORDERS = 10_000
"""Orders that the query server knows."""


def measure(run: Run) -> Sequence[Line]:
    """The rates, and their ratios."""
    with ExitStack() as stack:
        calls = {**_ours(run, stack), **_theirs(run, stack)}
        warm(*calls.values())
        samples = sampled(run, calls)
    return list(_lines(samples))


def _ours(run: Run, stack: ExitStack) -> dict[str, Call]:
    system = stack.enter_context(System(run.new_folder()))
    fill(system.settings.event_database_url, ORDERS)
    _, commands, _, queries = system.start("nats", "command-server", "projector", "query-server")
    wait_until_projected(system, ORDERS)
    return {
        "CreateOrder": create_order(commands, system),
        "GetOrder": get_order(queries, system, ORDERS),
    }


def _theirs(run: Run, stack: ExitStack) -> dict[str, Call]:
    folder, address = run.new_folder(), claim("127.0.0.1:0", setting="another port", role="crud")
    command = [sys.executable, "-m", "bench.crud_server", address, str(folder / "crud.db")]
    server = stack.enter_context(running("crud", command, ready=partial(serves_grpc, address), folder=folder))

    def call(method: str, body: object) -> Call:
        return Call(method=f"shop.orders.v1.{method}", body=json.dumps(body), address=address, server=server)

    first = call("CommandService/CreateOrder", {**order_body(), "order_id": numbered_id(0)})
    sample(first, in_flight=1, count=1)
    return {
        "CRUD, create": call("CommandService/CreateOrder", order_body()),
        "CRUD, get": call("QueryService/GetOrder", {"order_id": numbered_id(0)}),
    }


def _lines(samples: dict[str, list[Sample]]) -> Iterator[Line]:
    yield from rate_lines(samples)
    for ours, theirs in (("CreateOrder", "CRUD, create"), ("GetOrder", "CRUD, get")):
        yield ratio(f"{ours} ÷ CRUD", rates(samples[ours]), rates(samples[theirs]))
        yield ratio("… by CPU time", cpu(samples[theirs]), cpu(samples[ours]))
