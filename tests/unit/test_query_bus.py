"""Each query has exactly one answer, and middleware wraps it in the declared order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.message import Message

from shop.orders.v1.query_service_pb2 import GetOrderRequest, GetOrderResponse
from shop_contexts import orders
from twofold_server.errors import StartupError
from twofold_server.messages.contract import read_contract
from twofold_server.modelling import Context, Query
from twofold_server.queries.answer import Answer
from twofold_server.queries.bus import Middleware, Next, QueryBus, find_queries
from twofold_server.queries.call import QueryCall

CONTRACT = read_contract("shop.orders.v1")
CALL = QueryCall(contract=CONTRACT.queries[GetOrderRequest.DESCRIPTOR.full_name], request=GetOrderRequest())
ANSWER = Answer(body=b"", read_info=b"", position=1, token="")


def found_in(context: Context) -> set[type[Message]]:
    return set(find_queries([(context, CONTRACT)]))


def test_every_declared_query_is_found() -> None:
    assert {t.DESCRIPTOR.full_name for t in found_in(orders.context)} == set(CONTRACT.queries)


def test_a_query_without_an_answer_is_named() -> None:
    with pytest.raises(StartupError, match=r"query shop\.orders\.v1\.GetOrderRequest has no answer"):
        found_in(replace(orders.context, queries=orders.context.queries[1:]))


def test_a_query_with_two_answers_is_named() -> None:
    twice = [*orders.context.queries, orders.context.queries[0]]
    with pytest.raises(StartupError, match=r"query shop\.orders\.v1\.GetOrderRequest has two answers"):
        found_in(replace(orders.context, queries=twice))


def test_an_answer_to_what_is_no_query_is_named() -> None:
    stray = Query(request=GetOrderResponse, answer=lambda request, connection: request)
    with pytest.raises(StartupError, match=r"shop\.orders\.v1\.GetOrderResponse is answered in"):
        found_in(replace(orders.context, queries=[*orders.context.queries, stray]))


def test_a_query_of_a_projection_that_is_missing_is_named() -> None:
    with pytest.raises(StartupError, match="reads projection 'orders', which the context does not have"):
        found_in(replace(orders.context, projections=[]))


async def test_the_first_middleware_is_outermost() -> None:
    heard: list[str] = []

    def named(name: str) -> Middleware:
        async def wrap(call: QueryCall, proceed: Next) -> Answer:
            heard.append(f"{name} before")
            response = await proceed(call)
            heard.append(f"{name} after")
            return response

        return wrap

    async def answer(call: QueryCall) -> Answer:
        heard.append("answer")
        return ANSWER

    assert await QueryBus(answer, [named("outer"), named("inner")]).ask(CALL) is ANSWER
    assert heard == ["outer before", "inner before", "answer", "inner after", "outer after"]
