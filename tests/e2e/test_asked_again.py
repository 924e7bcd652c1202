"""A command that is sent again takes effect once, whatever became of the first call."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from tests.e2e.held_log import nothing_commits
from tests.e2e.refusals import forbidden, nothing_changes
from tests.e2e.shop import Shop, a_payment, an_order, item, new_id
from tests.e2e.systems import System
from twofold.v1.command_pb2 import CommandOptions, Receipt


def first_again(first: Receipt) -> Receipt:
    """The receipt that a repetition must give."""
    again = Receipt()
    again.CopyFrom(first)
    again.replayed = True
    return again


async def test_the_same_request_id_gives_the_same_order_and_says_so(shop: Shop) -> None:
    create = an_order()
    first = (await shop.commands.CreateOrder(create)).receipt
    assert not first.replayed
    async with nothing_changes(shop):
        for _ in range(3):
            assert (await shop.commands.CreateOrder(create)).receipt == first_again(first)


async def test_many_calls_with_one_request_id_at_the_same_moment_create_one_order(shop: Shop) -> None:
    create, before = an_order(), await shop.head()
    answers = await asyncio.gather(*(shop.commands.CreateOrder(create) for _ in range(20)))
    assert len({answer.receipt.aggregate_id for answer in answers}) == 1
    assert sum(not answer.receipt.replayed for answer in answers) == 1
    assert await shop.head() == before + 1


async def test_what_was_done_is_answered_again_though_the_state_forbids_it_now(shop: Shop) -> None:
    order_id = await shop.create()
    pay = a_payment(order_id, options=CommandOptions(expected_version=1))
    first = (await shop.commands.PayOrder(pay)).receipt
    ship = commands.ShipOrderRequest(order_id=order_id, carrier="DHL", tracking_number="1")
    await shop.commands.ShipOrder(ship)
    async with nothing_changes(shop):
        assert (await shop.commands.PayOrder(pay)).receipt == first_again(first)


async def test_a_request_id_that_was_refused_can_be_used_again(shop: Shop) -> None:
    order_id = await shop.create()
    ship = commands.ShipOrderRequest(
        order_id=order_id, carrier="DHL", tracking_number="1", request_id=new_id()
    )
    await forbidden(shop.commands.ShipOrder(ship), "ORDER_NOT_PAID")
    await shop.commands.PayOrder(a_payment(order_id))
    assert (await shop.commands.ShipOrder(ship)).receipt.version == 3


async def test_the_same_command_without_a_request_id_is_another_command(system: System) -> None:
    async with grpc.aio.insecure_channel(system.command_address) as channel:
        create = CommandServiceStub(channel).CreateOrder
        answers = [await create(an_order(request_id="")) for _ in range(2)]
    assert len({answer.receipt.aggregate_id for answer in answers}) == 2


async def test_a_call_whose_deadline_passed_is_answered_when_it_is_asked_again(
    system: System, shop: Shop
) -> None:
    create, before = an_order(), await shop.head()
    with nothing_commits(system):
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await shop.commands.CreateOrder(create, timeout=0.3)
        assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    receipt = (await shop.commands.CreateOrder(create)).receipt
    assert receipt.replayed
    assert (receipt.version, receipt.position) == (1, before + 1)
    assert await shop.head() == before + 1


async def test_a_call_that_was_cancelled_is_answered_when_it_is_asked_again(
    system: System, shop: Shop
) -> None:
    order_id = await shop.create(item("tea", 2))
    pay, before = a_payment(order_id), await shop.head()
    with nothing_commits(system):
        call = shop.commands.PayOrder(pay)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await call
    receipt = (await shop.commands.PayOrder(pay)).receipt
    assert receipt.replayed
    assert (receipt.version, receipt.position) == (2, before + 1)


async def test_others_are_served_though_a_caller_gives_up_in_the_middle(system: System, shop: Shop) -> None:
    order_id = await shop.create()
    with nothing_commits(system):
        impatient = asyncio.ensure_future(shop.commands.CreateOrder(an_order(), timeout=0.3))
        patient = [asyncio.ensure_future(shop.commands.CreateOrder(an_order())) for _ in range(5)]
        hot = asyncio.ensure_future(shop.commands.PayOrder(a_payment(order_id)))
        with pytest.raises(grpc.aio.AioRpcError):
            await impatient
    receipts = [answer.receipt for answer in await asyncio.gather(*patient)] + [(await hot).receipt]
    assert len({receipt.position for receipt in receipts}) == 6
