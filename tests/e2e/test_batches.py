"""BatchExecute and wait_for on a running shop: many commands in one call, and answers that can be read."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1.query_service_pb2 import GetOrderRequest
from shop.orders.v1.values_pb2 import OrderStatus
from tests.e2e.refusals import nothing_changes, refusal, wrong
from tests.e2e.shop import ENGINE, Shop, a_payment, an_order, new_id, visiting
from tests.e2e.systems import System
from twofold.v1.batch_service_pb2 import BatchExecuteRequest, BatchOutcome
from twofold.v1.batch_service_pb2_grpc import BatchServiceStub
from twofold.v1.command_pb2 import CommandOptions
from twofold.v1.reading_pb2 import OnStale, ReadOptions


def a_batch(*sent: Any) -> BatchExecuteRequest:
    batch = BatchExecuteRequest()
    for command in sent:
        batch.commands.add().Pack(command)
    return batch


async def execute(shop: Shop, *sent: Any) -> list[BatchOutcome]:
    answer = await shop.client.stub(BatchServiceStub).BatchExecute(a_batch(*sent))
    return list(answer.outcomes)


def a_life(order_id: str) -> list[Any]:
    """Commands each of which is refused without the one before it."""
    return [
        an_order(order_id=order_id),
        a_payment(order_id),
        commands.ShipOrderRequest(order_id=order_id, carrier="DHL", tracking_number="1", request_id=new_id()),
        commands.CompleteOrderRequest(order_id=order_id, request_id=new_id()),
    ]


async def test_the_lives_of_many_orders_are_imported_in_one_call_and_can_be_read_at_once(shop: Shop) -> None:
    orders = [new_id() for _ in range(100)]
    before = await shop.head()
    outcomes = await execute(shop, *(command for each in orders for command in a_life(each)))
    assert [outcome.receipt.version for outcome in outcomes] == [1, 2, 3, 4] * 100
    assert sorted(outcome.receipt.position for outcome in outcomes) == list(range(before + 1, before + 401))
    for each in orders[::33]:
        shown = await shop.queries.GetOrder(
            GetOrderRequest(order_id=each, read_options=ReadOptions(on_stale=OnStale.ON_STALE_FAIL))
        )
        assert shown.order.status == OrderStatus.ORDER_STATUS_COMPLETED


async def test_a_batch_that_is_sent_again_changes_nothing_and_gives_the_same_receipts(shop: Shop) -> None:
    batch = [*a_life(new_id()), an_order(), a_payment(new_id())]
    first = await execute(shop, *batch)
    async with nothing_changes(shop):
        again = await execute(shop, *batch)
    assert [outcome.receipt.replayed for outcome in again] == [True] * 5 + [False]
    for before, after in zip(first, again, strict=True):
        if after.HasField("receipt"):
            after.receipt.replayed = False
        assert after == before


async def test_what_is_wrong_with_one_command_is_told_in_its_place_and_harms_no_other(shop: Shop) -> None:
    order_id = await shop.create()
    batch = a_batch(a_payment(new_id()), a_payment(order_id))
    batch.commands.append(AnyMessage(type_url="type.googleapis.com/no.Such", value=b"\xff"))
    answer = await shop.client.stub(BatchServiceStub).BatchExecute(batch)
    assert [outcome.WhichOneof("outcome") for outcome in answer.outcomes] == ["error", "receipt", "error"]
    assert [answer.outcomes[n].error.code for n in (0, 2)] == [
        grpc.StatusCode.NOT_FOUND.value[0],
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
    ]


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_one_to_a_thousand_commands(shop: Shop, count: int) -> None:
    async with nothing_changes(shop):
        call = execute(shop, *[an_order()] * count)
        assert await wrong(call, domain=ENGINE) == ["commands"]


# --- wait_for ------------------------------------------------------------------------------------


async def test_an_order_whose_receipt_waited_can_be_read_by_someone_without_the_token(
    system: System, shop: Shop
) -> None:
    async with visiting(system) as someone:
        for _ in range(5):
            order_id = await shop.create(options=CommandOptions(wait_for=["orders"]))
            assert (await someone.queries.GetOrder(GetOrderRequest(order_id=order_id))).order.version == 1


async def test_an_unknown_projection_is_refused_with_those_that_there_are(shop: Shop) -> None:
    async with nothing_changes(shop):
        call = shop.commands.CreateOrder(an_order(options=CommandOptions(wait_for=["no-such"])))
        error = await refusal(call)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_PROJECTION")
    assert "there are order_sales" in error.message
