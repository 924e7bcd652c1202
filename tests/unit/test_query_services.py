"""The gRPC edge of queries: what stands in the answer, and what beside it."""

from __future__ import annotations

from typing import Any

import pytest

from shop.orders.v1.query_service_pb2 import GetOrderRequest, GetOrderResponse
from shop.orders.v1.views_pb2 import Order
from twofold.v1.reading_pb2 import ReadInfo
from twofold_server.messages.contract import read_contract
from twofold_server.messages.tokens import METADATA_KEY
from twofold_server.queries.answer import Answer, serialized
from twofold_server.queries.bus import QueryBus
from twofold_server.queries.call import QueryCall
from twofold_server.rpc.admission import Admission
from twofold_server.rpc.query_services import query_handler
from twofold_server.rpc.requests import RequestReader

CONTRACT = read_contract("shop.orders.v1").queries[GetOrderRequest.DESCRIPTOR.full_name]
ORDER_ID = "0199a1b2-0000-7000-8000-000000000000"


class CallContext:
    """A call that has no deadline and says nothing beside its request."""

    def __init__(self) -> None:
        self.trailing: dict[str, str] = {}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def time_remaining(self) -> None:
        return None

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.trailing = dict(metadata)


async def asked(*, stale: bool) -> tuple[GetOrderResponse, dict[str, str]]:
    """The response to a query, and its trailing metadata."""

    async def answer(call: QueryCall) -> Answer:
        info = ReadInfo(position=7, consistency_token="token", stale=stale)
        return Answer(
            body=GetOrderResponse(order=Order(order_id=call.request.order_id)).SerializeToString(),
            read_info=serialized(info, GetOrderResponse),
            position=7,
            token="token",
            stale=stale,
        )

    requests, admission = RequestReader(max_bytes=1024), Admission(max_in_flight=1)
    handler: Any = query_handler(CONTRACT, QueryBus(answer), requests, admission)
    context = CallContext()
    content = await handler.unary_unary(GetOrderRequest(order_id=ORDER_ID).SerializeToString(), context)
    return GetOrderResponse.FromString(content), context.trailing


@pytest.mark.parametrize("stale", [False, True])
async def test_the_response_is_whole(stale: bool) -> None:
    response, _ = await asked(stale=stale)
    assert response == GetOrderResponse(
        order=Order(order_id=ORDER_ID),
        read_info=ReadInfo(position=7, consistency_token="token", stale=stale),
    )


async def test_the_token_comes_as_trailing_metadata_too() -> None:
    assert (await asked(stale=False))[1] == {METADATA_KEY: "token"}


async def test_a_stale_answer_says_so_in_trailing_metadata_too() -> None:
    assert (await asked(stale=True))[1] == {METADATA_KEY: "token", "twofold-stale": "true"}
