"""ListCustomerOrders: the first and the 1,000th page of a customer with many orders, beside one with few.

Two read stores, each filled by a projector from the log; a page has 50 orders. The customer with 1,000 orders
has 20 pages: there the last one stands for the 1,000th. One call at a time; the latency is what ghz sees.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import grpc

from bench.comparing import few_and_many
from bench.load import Call
from bench.report import Line
from bench.run import Run
from bench.stores import filled
from shop.orders.v1.query_service_pb2 import ListCustomerOrdersRequest
from shop.orders.v1.query_service_pb2_grpc import QueryServiceStub

FEW, MANY, MANY_FULL = 1_000, 50_000, 1_000_000
PAGE, DEEP = 50, 1_000
"""Orders on a page, and the number of the page that is far behind."""
_STEP = 1_000
"""Orders on the pages by which the token of the deep page is found."""


def measure(run: Run) -> Sequence[Line]:
    """Latencies, and their ratios."""
    many = MANY_FULL if run.full else MANY
    return few_and_many(run, partial(_pages, run), few=FEW, many=many, most=1.5)


def _pages(run: Run, stack: ExitStack, count: int) -> dict[str, Call]:
    page = min(DEEP, count // PAGE)
    system = stack.enter_context(filled(run, count))
    [server] = system.start("query-server")
    address = system.settings.query_address
    token = asyncio.run(_token(address, (page - 1) * PAGE))

    def call(page_token: str) -> Call:
        body = json.dumps({"customer_id": "alice", "page_size": PAGE, "page_token": page_token})
        method = "shop.orders.v1.QueryService/ListCustomerOrders"
        return Call(method=method, body=body, address=address, server=server)

    return {"first page": call(""), "deep page": call(token)}


async def _token(address: str, passed: int) -> str:
    """The token of the page after so many orders."""
    token = ""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = QueryServiceStub(channel)
        while passed:
            size = min(passed, _STEP)
            request = ListCustomerOrdersRequest(customer_id="alice", page_size=size, page_token=token)
            token = (await stub.ListCustomerOrders(request)).next_page_token
            passed -= size
    return token
