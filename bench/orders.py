"""The calls that are measured: an order of three lines, and what is done with it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bench.load import ECHO_CONTRACT, Call
from bench.processes import Process
from bench.system import System

_COMMANDS = "shop.orders.v1.CommandService"
_QUERIES = "shop.orders.v1.QueryService"
ITEMS = (("tea-green", 2, 4, 500_000_000), ("teapot", 1, 39, 0), ("cup", 6, 7, 250_000_000))
"""Product, quantity, units and nanos of the price."""
ADDRESS = {
    "recipient": "Alice Liddell",
    "line1": "1 Riverbank",
    "city": "Oxford",
    "postal_code": "OX1 1AA",
    "country_code": "GB",
}


def numbered_id(number: int) -> str:
    """The id of a numbered order."""
    return f"00000000-0000-4000-8000-{number:012}"


def any_id(count: int) -> str:
    """A ghz template for the id of any of this many numbered orders, another one each time."""
    return "00000000-0000-4000-8000-{{printf `%012d` (randomInt 0 " + str(count) + ")}}"


def echo_call(server: Process, address: str) -> Call:
    """A call that does nothing."""
    method = "bench.v1.EchoService/Echo"
    return Call(method=method, body="{}", address=address, server=server, contract=ECHO_CONTRACT)


def order_body() -> dict[str, object]:
    """An order as JSON, without a request id."""
    items = [
        {"product_id": product, "quantity": quantity, "unit_price": _euros(units, nanos)}
        for product, quantity, units, nanos in ITEMS
    ]
    return {"customer_id": "alice", "items": items, "shipping_address": ADDRESS}


def create_order(server: Process, system: System) -> Call:
    """Three lines, a request id, an address."""
    return _command(server, system, "CreateOrder", order_body())


def add_item(server: Process, system: System, order_id: str) -> Call:
    """One more of a product that the order has; ``order_id`` may be a template."""
    body = {"order_id": order_id, "product_id": "cup", "quantity": 1, "unit_price": _euros(7, 250_000_000)}
    return _command(server, system, "AddOrderItem", body)


def get_order(server: Process, system: System, orders: int) -> Call:
    """Any of the numbered orders, without a token."""
    body = json.dumps({"order_id": any_id(orders)})
    return Call(
        method=f"{_QUERIES}/GetOrder", body=body, address=system.settings.query_address, server=server
    )


def _command(server: Process, system: System, method: str, body: Mapping[str, object]) -> Call:
    return Call(
        method=f"{_COMMANDS}/{method}",
        body=json.dumps({**body, "request_id": "{{newUUID}}"}),
        address=system.settings.command_address,
        server=server,
    )


def _euros(units: int, nanos: int) -> dict[str, object]:
    return {"currency_code": "EUR", "units": units, "nanos": nanos}
