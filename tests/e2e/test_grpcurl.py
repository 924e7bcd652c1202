"""A terminal is enough: every RPC can be found, understood and called without any proto file."""

from __future__ import annotations

import json

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from tests.e2e.grpcurl import call, grpcurl, grpcurl_follows
from tests.e2e.shop import new_id
from tests.e2e.systems import System

COMMANDS = (
    "CreateOrder",
    "AddOrderItem",
    "RemoveOrderItem",
    "ChangeItemQuantity",
    "PayOrder",
    "ShipOrder",
    "CompleteOrder",
    "CancelOrder",
)
QUERIES = (
    "GetOrder",
    "ListCustomerOrders",
    "GetMonthlySales",
    "GetDailyStatistics",
    "SearchOrders",
    "GetOrderHistory",
    "WatchOrder",
)
EVENT_RPCS = ("ReadStream", "ReadEvents", "Subscribe")
CALLED = {
    *(f"shop.orders.v1.CommandService.{rpc}" for rpc in COMMANDS),
    *(f"shop.orders.v1.QueryService.{rpc}" for rpc in QUERIES),
    *(f"twofold.v1.EventService.{rpc}" for rpc in EVENT_RPCS),
    "twofold.v1.BatchService.BatchExecute",
}
"""The RPCs that are called here: all there are."""
HEALTH, V1, V1ALPHA = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
MONEY = {"currencyCode": "EUR", "units": "10"}
ADDRESS = {"recipient": "Ada", "line1": "St James's Square 12", "city": "London", "countryCode": "GB"}

needs_grpcurl = pytest.mark.grpcurl


@needs_grpcurl
@pytest.mark.parametrize(
    ("role", "services"),
    [
        ("command-server", {"shop.orders.v1.CommandService", "twofold.v1.EventService"}),
        ("query-server", {"shop.orders.v1.QueryService"}),
        ("projector", set()),
    ],
)
async def test_each_server_lists_its_services_with_a_comment_on_every_rpc(
    system: System, role: str, services: set[str]
) -> None:
    listed = set((await grpcurl(system.address_of(role), "list")).split())
    assert listed >= services | {HEALTH, V1, V1ALPHA}
    for service in listed - {HEALTH, V1, V1ALPHA}:
        described = (await grpcurl(system.address_of(role), "describe", service)).splitlines()
        before = dict(zip(map(str.strip, described[1:]), map(str.strip, described), strict=False))
        rpcs = [line for line in before if line.startswith("rpc ")]
        assert rpcs
        assert all(before[line].startswith("//") for line in rpcs), described


@needs_grpcurl
async def test_all_rpcs_are_listed_and_each_is_called_by_a_test_below(system: System) -> None:
    listed: set[str] = set()
    for address in (system.command_address, system.query_address):
        for service in (await grpcurl(address, "list")).split():
            if not service.startswith("grpc."):
                listed |= set((await grpcurl(address, "list", service)).split())
    assert listed == CALLED


@needs_grpcurl
@pytest.mark.parametrize(
    ("role", "symbol", "comments"),
    [
        (
            "command-server",
            "shop.orders.v1.CommandService",
            [
                "Takes the commands on orders.",
                "Creates an order.",
                "Takes a product out of a PENDING order; the last one cannot be removed.",
            ],
        ),
        (
            "command-server",
            "shop.orders.v1.CreateOrderRequest",
            [
                "The new order, a UUID in small letters; assigned by the server when left empty.",
                "Where it goes.",
            ],
        ),
        ("command-server", "google.type.Money", []),
        (
            "command-server",
            "twofold.v1.Receipt",
            ["What a caller holds after a command was stored.", "Opaque."],
        ),
        ("command-server", "twofold.v1.EventService", ["Reads the event log, in order, from any position"]),
        ("command-server", "shop.orders.v1.OrderCreated", ["An order was created; it is PENDING."]),
        (
            "query-server",
            "shop.orders.v1.QueryService",
            ["A customer's orders, the newest first, page by page."],
        ),
        ("query-server", "shop.orders.v1.OrderStatus", ["Called off before it was shipped"]),
    ],
)
async def test_what_is_served_is_described_with_its_comments(
    system: System, role: str, symbol: str, comments: list[str]
) -> None:
    described = await grpcurl(system.address_of(role), "describe", symbol)
    assert described.startswith(f"{symbol} is a")
    for comment in comments:
        assert comment in described


@needs_grpcurl
async def test_every_rpc_can_be_called_without_a_proto_file(system: System) -> None:
    commands, queries = system.command_address, system.query_address
    service = "shop.orders.v1.CommandService"
    items = [{"productId": name, "quantity": 2, "unitPrice": MONEY} for name in ("tea", "cup")]
    order = {"customerId": "ada", "items": items, "shippingAddress": ADDRESS, "requestId": new_id()}
    receipt = (await call(commands, f"{service}/CreateOrder", **order))["receipt"]
    order_id = {"orderId": receipt["aggregateId"]}
    pot = {"productId": "pot", "quantity": 1, "unitPrice": MONEY}
    for method, fields in (
        ("AddOrderItem", pot),
        ("ChangeItemQuantity", {"productId": "cup", "quantity": 5}),
        ("RemoveOrderItem", {"productId": "tea"}),
        ("PayOrder", {"paymentReference": "card-1"}),
        ("ShipOrder", {"carrier": "DHL", "trackingNumber": "7"}),
        ("CompleteOrder", {}),
    ):
        receipt = (await call(commands, f"{service}/{method}", **order_id, **fields))["receipt"]
    assert receipt["version"] == "7"

    token = {"readOptions": {"consistencyToken": receipt["consistencyToken"]}}
    shown = await call(queries, "shop.orders.v1.QueryService/GetOrder", **order_id, **token)
    assert shown["order"]["status"] == "ORDER_STATUS_COMPLETED"
    assert shown["order"]["total"] == {"currencyCode": "EUR", "units": "60"}
    listed = await call(queries, "shop.orders.v1.QueryService/ListCustomerOrders", customerId="ada", **token)
    assert order_id["orderId"] in [order["orderId"] for order in listed["orders"]]

    query = "shop.orders.v1.QueryService"
    told = await call(queries, f"{query}/GetOrderHistory", **order_id, version=5)
    assert told["events"][4]["event"]["@type"] == "type.googleapis.com/shop.orders.v1.OrderPaid"
    assert told["order"]["status"] == "ORDER_STATUS_PAID"
    watch = json.dumps(order_id | token)
    await grpcurl_follows("ORDER_STATUS_COMPLETED", "-d", watch, queries, f"{query}/WatchOrder")
    found = await call(queries, f"{query}/SearchOrders", query=order_id["orderId"][4:], **token)
    assert [order["orderId"] for order in found["orders"]] == [order_id["orderId"]]
    sold = await call(queries, f"{query}/GetMonthlySales", productIds=["cup"], **token)
    assert sold["sales"][0]["averagePrice"] == MONEY
    today = {"year": int(shown["order"]["payTime"][:4]), "month": int(shown["order"]["payTime"][5:7])}
    period = {"fromDay": today | {"day": 1}, "toDay": today | {"day": 28}}
    await call(queries, f"{query}/GetDailyStatistics", **period, **token)

    other = (await call(commands, f"{service}/CreateOrder", **order | {"requestId": new_id()}))["receipt"]
    await call(commands, f"{service}/CancelOrder", orderId=other["aggregateId"], reason="changed my mind")

    kind = {"@type": "type.googleapis.com/shop.orders.v1.CreateOrderRequest"}
    batch = [kind | order | {"requestId": new_id()} for _ in range(2)]
    done = await call(commands, "twofold.v1.BatchService/BatchExecute", commands=batch)
    assert [outcome["receipt"]["version"] for outcome in done["outcomes"]] == ["1", "1"]


@needs_grpcurl
async def test_the_log_can_be_read_in_a_terminal(system: System) -> None:
    commands = system.command_address
    order = {
        "customerId": "ada",
        "items": [{"productId": "tea", "quantity": 1, "unitPrice": MONEY}],
        "shippingAddress": ADDRESS,
    }
    receipt = (await call(commands, "shop.orders.v1.CommandService/CreateOrder", **order))["receipt"]
    stream = {"streamName": f"order-{receipt['aggregateId']}"}
    after = {"afterPosition": int(receipt["position"]) - 1}
    for method, request in (("ReadStream", stream), ("ReadEvents", after | {"limit": 1})):
        [event] = (await call(commands, f"twofold.v1.EventService/{method}", **request))["events"]
        assert event["event"]["@type"] == "type.googleapis.com/shop.orders.v1.OrderCreated"
        assert event["event"]["customerId"] == "ada"
    await grpcurl_follows(
        receipt["position"], "-d", json.dumps(after), commands, "twofold.v1.EventService/Subscribe"
    )


@needs_grpcurl
async def test_a_refusal_is_readable_in_a_terminal(system: System) -> None:
    with pytest.raises(AssertionError) as refused:
        await call(system.command_address, "shop.orders.v1.CommandService/CreateOrder", customerId="ada")
    told = str(refused.value)
    assert "InvalidArgument" in told
    assert "items" in told
    assert '"reason": "INVALID_REQUEST"' in told


@pytest.mark.parametrize("version", [V1, V1ALPHA])
async def test_both_versions_of_reflection_are_served(system: System, version: str) -> None:
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="shop.orders.v1.CommandService")
    async with grpc.aio.insecure_channel(system.command_address) as channel:
        info = channel.stream_stream(
            f"/{version}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        [answer] = [answer async for answer in info(iter([request]), timeout=30)]
    files = [FileDescriptorProto.FromString(f) for f in answer.file_descriptor_response.file_descriptor_proto]
    [found] = [file for file in files if file.name == "shop/orders/v1/command_service.proto"]
    assert found.source_code_info.location
