"""The Python client against a real gRPC server: retries, the token, errors, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_status import rpc_status

from shop.orders.v1.command_service_pb2 import PayOrderRequest, PayOrderResponse
from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from shop.orders.v1.query_service_pb2 import GetOrderRequest, GetOrderResponse
from shop.orders.v1.query_service_pb2_grpc import QueryServiceStub
from twofold.v1.command_pb2 import Receipt
from twofold_client import ClientConfig, connect, error_of
from twofold_server.errors import Unavailable
from twofold_server.messages.tokens import consistency_token
from twofold_server.rpc.status import status_of

TOKEN = consistency_token("log", 7)
AWAY = rpc_status.to_status(status_of(Unavailable("away", reason="STORE_UNAVAILABLE"), "shop.orders.v1"))


class Server:
    """Answers both kinds of calls, after being away for some of them."""

    def __init__(self) -> None:
        self.address = ""
        self.away = 0
        self.commands: list[PayOrderRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def pay_order(self, request: PayOrderRequest, context: Any) -> PayOrderResponse:
        """A command."""
        self.commands.append(request)
        if len(self.commands) <= self.away:
            await context.abort_with_status(AWAY)
        context.set_trailing_metadata((("twofold-consistency-token", TOKEN),))
        return PayOrderResponse(receipt=Receipt(consistency_token=TOKEN))

    async def get_order(self, request: GetOrderRequest, context: Any) -> GetOrderResponse:
        """A query; one for no order never ends."""
        self.metadata.append(dict(context.invocation_metadata()))
        self.asked.set()
        try:
            if not request.order_id:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return GetOrderResponse()


def handler(method: Any, request: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=request.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server, servicer = grpc.aio.server(options=[("grpc.so_reuseport", 0)]), Server()
    methods = {
        "shop.orders.v1.CommandService": {"PayOrder": handler(servicer.pay_order, PayOrderRequest)},
        "shop.orders.v1.QueryService": {"GetOrder": handler(servicer.get_order, GetOrderRequest)},
    }
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(service, each) for service, each in methods.items())
    )
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield servicer
    finally:
        await server.stop(0)


async def test_a_query_after_a_command_carries_its_token() -> None:
    async with serving() as server, connect(server.address, server.address, actor="ada") as client:
        await client.ready()
        await client.stub(CommandServiceStub).PayOrder(PayOrderRequest())
        await client.stub(QueryServiceStub).GetOrder(GetOrderRequest(order_id="1"))
        assert server.metadata[0]["twofold-consistency-token"] == TOKEN
        assert server.metadata[0]["twofold-actor"] == "ada"


async def test_a_command_is_retried_under_one_request_id_while_the_server_is_away() -> None:
    async with serving() as server, connect(server.address, server.address) as client:
        server.away = 2
        await client.stub(CommandServiceStub).PayOrder(PayOrderRequest())
        assert len(server.commands) == 3
        assert len({command.request_id for command in server.commands}) == 1


@pytest.mark.parametrize(("attempts", "tried"), [(1, 1), (2, 2)])
async def test_after_its_attempts_the_error_comes_with_its_details(attempts: int, tried: int) -> None:
    config = ClientConfig(attempts=attempts)
    async with serving() as server, connect(server.address, server.address, config=config) as client:
        server.away = 9
        with pytest.raises(grpc.RpcError) as failure:
            await client.stub(CommandServiceStub).PayOrder(PayOrderRequest())
        error = error_of(failure.value)
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert (error.message, error.retry_after) == ("away", 0.2)
        assert len(server.commands) == tried


async def test_a_cancelled_call_is_cancelled_on_the_server_too() -> None:
    async with serving() as server, connect(server.address, server.address) as client:
        call = asyncio.ensure_future(client.stub(QueryServiceStub).GetOrder(GetOrderRequest()))
        await server.asked.wait()
        call.cancel()
        await server.cancelled.wait()


async def test_a_call_ends_at_the_clients_deadline() -> None:
    config = ClientConfig(timeout=0.1)
    async with serving() as server, connect(server.address, server.address, config=config) as client:
        with pytest.raises(grpc.RpcError) as failure:
            await client.stub(QueryServiceStub).GetOrder(GetOrderRequest())
        assert error_of(failure.value).code is grpc.StatusCode.DEADLINE_EXCEEDED
