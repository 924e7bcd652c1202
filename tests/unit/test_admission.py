"""Admission: what is too much is refused before anything is done, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc.code_pb2 import RESOURCE_EXHAUSTED
from google.rpc.error_details_pb2 import RetryInfo
from hypothesis import given
from hypothesis import strategies as st

from shop.orders.v1.command_service_pb2 import CreateOrderResponse
from tests.e2e.conditions import until
from tests.unit.batch_side import REQUESTS, Batches, Call, info, receipt
from tests.unit.command_side import CommandSide
from tests.unit.order_messages import add, create, pay
from tests.unit.stores import ControlledStore, decided
from twofold_server.commands.bus import CommandBus
from twofold_server.commands.progress import too_far_behind
from twofold_server.errors import InvalidRequest, Overloaded
from twofold_server.rpc.admission import Admission
from twofold_server.rpc.command_services import command_handler
from twofold_server.rpc.status import status_of


class Aborted(Exception):
    """What gRPC raises out of an abort."""


class Rpc(Call):
    """A call of a command RPC."""

    async def abort_with_status(self, status: Any) -> None:
        """See grpc.aio."""
        raise Aborted(status.code)


def create_order(server: CommandSide, admission: Admission) -> Callable[[], Any]:
    """The RPC CreateOrder of a server."""
    contract = server.contract.commands["shop.orders.v1.CreateOrderRequest"]
    handler = command_handler(contract, CommandBus(server.execution.execute, []), REQUESTS, admission)

    async def call() -> CreateOrderResponse:
        content = create(order_id="").SerializeToString()
        handle: Any = handler.unary_unary
        return CreateOrderResponse.FromString(await handle(content, Rpc()))

    return call


def refusal_of(admission: Admission, count: int = 1) -> Overloaded:
    with pytest.raises(Overloaded) as refusal:
        admission.admitted(count)
    return refusal.value


# --- calls in work -------------------------------------------------------------------------------


def test_as_many_calls_are_in_work_as_the_limit_says() -> None:
    admission = Admission(max_in_flight=2)
    with admission.admitted(), admission.admitted():
        assert admission.in_flight == 2
        assert refusal_of(admission).reason == "TOO_MANY_CALLS"
    assert admission.in_flight == 0


def test_a_place_is_free_again_when_its_call_ends_also_in_an_error() -> None:
    admission = Admission(max_in_flight=1)
    with pytest.raises(LookupError), admission.admitted():
        raise LookupError
    with admission.admitted():
        assert admission.in_flight == 1


def test_a_batch_takes_a_place_for_each_of_its_commands() -> None:
    admission = Admission(max_in_flight=10)
    with admission.admitted(8):
        assert refusal_of(admission, 3).message.startswith(
            "the server has 8 calls in work, and its limit is 10; nothing was done, retry"
        )
        with admission.admitted(2):
            assert refusal_of(admission).reason == "TOO_MANY_CALLS"
    assert admission.in_flight == 0


def test_a_batch_beyond_the_limit_runs_when_nothing_else_does() -> None:
    admission = Admission(max_in_flight=10)
    with admission.admitted():
        refusal_of(admission, 11)
    with admission.admitted(11):
        refusal_of(admission)


@given(st.integers(1, 20), st.lists(st.one_of(st.integers(1, 30), st.none()), max_size=60))
def test_whatever_comes_and_goes_the_limit_holds_and_every_place_comes_back(
    limit: int, steps: list[int | None]
) -> None:
    """A number is a batch of that many commands that comes, None the first batch in work that ends."""
    admission = Admission(max_in_flight=limit)
    inside: list[tuple[int, Any]] = []
    for count in steps:
        if count is None:
            if inside:
                inside.pop(0)[1].__exit__(None, None, None)
            continue
        fits = sum(n for n, _ in inside) + count <= limit or not inside
        if fits:
            block = admission.admitted(count)
            block.__enter__()
            inside.append((count, block))
        else:
            refusal_of(admission, count)
        assert admission.in_flight == sum(n for n, _ in inside)
        assert admission.in_flight <= limit or len(inside) == 1


def test_the_refusal_tells_to_retry_and_when() -> None:
    admission = Admission(max_in_flight=1)
    with admission.admitted():
        status = status_of(refusal_of(admission), "shop.orders.v1")
    assert status.code == RESOURCE_EXHAUSTED
    assert info(status).reason == "TOO_MANY_CALLS"
    retry = RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0


# --- the queue, and projections ------------------------------------------------------------------


def test_while_the_queue_is_old_nothing_is_taken() -> None:
    age = 0.0
    admission = Admission(max_in_flight=9, max_queue_seconds=5, queue_age=lambda: age)
    with admission.admitted():
        age = 5.1
        refusal = refusal_of(admission)
        assert (refusal.reason, refusal.message) == (
            "QUEUE_TOO_LONG",
            "work waits for 5.1 s already; nothing was done, retry shortly",
        )
        assert admission.in_flight == 1
        age = 5.0
        with admission.admitted():
            pass


async def test_a_store_that_hangs_fills_no_queue(server: CommandSide, store: ControlledStore) -> None:
    admission = Admission(
        max_in_flight=100, max_queue_seconds=0.01, queue_age=lambda: server.writer.queue_age
    )
    call = create_order(server, admission)
    store.hold()
    first = asyncio.create_task(call())
    await store.batch_waits()
    second = asyncio.create_task(call())
    await decided()
    await until(lambda: server.writer.queue_age > 0.01, "the queue is old")
    with pytest.raises(Aborted) as aborted:
        await call()
    assert aborted.value.args == (grpc.StatusCode.RESOURCE_EXHAUSTED,)
    store.release()
    assert {(await task).receipt.version for task in (first, second)} == {1}
    assert (await call()).receipt.position == 3


def test_while_a_projection_is_too_far_behind_nothing_is_taken() -> None:
    positions = {"orders": 40}
    admission = Admission(
        max_in_flight=9, pressure=lambda: too_far_behind({"orders": 50}, positions, head=100)
    )
    refusal = refusal_of(admission)
    assert refusal.reason == "READ_MODEL_BEHIND"
    assert refusal.message.startswith("the read model orders is 60 events behind, the limit is 50; nothing")
    positions["orders"] = 50
    with admission.admitted():
        pass


# --- at the services -----------------------------------------------------------------------------


async def test_a_command_beyond_the_limit_does_nothing_and_the_next_one_after_it_is_served(
    server: CommandSide, store: ControlledStore
) -> None:
    call = create_order(server, Admission(max_in_flight=2))
    store.hold()
    taken = [asyncio.create_task(call()) for _ in range(2)]
    await store.batch_waits()
    with pytest.raises(Aborted) as aborted:
        await call()
    assert aborted.value.args == (grpc.StatusCode.RESOURCE_EXHAUSTED,)
    store.release()
    assert sorted([(await task).receipt.position for task in taken]) == [1, 2]
    assert (await call()).receipt.position == 3


async def test_a_call_that_is_cancelled_gives_its_place_back(
    server: CommandSide, store: ControlledStore
) -> None:
    admission = Admission(max_in_flight=1)
    call = create_order(server, admission)
    store.hold()
    task = asyncio.create_task(call())
    await store.batch_waits()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert admission.in_flight == 0
    store.release()
    assert (await call()).receipt.position == 2, "the cancelled one was committed whole"


async def test_a_batch_is_admitted_or_refused_as_a_whole(server: CommandSide, store: ControlledStore) -> None:
    admission = Admission(max_in_flight=3)
    batches = Batches(server, admission=admission)
    store.hold()
    running = asyncio.create_task(batches.send(create(), add("milk")))
    await store.batch_waits()
    assert admission.in_flight == 2
    with pytest.raises(Overloaded):
        await batches.send(create(order_id=""), create(order_id=""))
    store.release()
    assert [receipt(outcome).version for outcome in await running] == [1, 2]
    assert await store.head() == 2
    assert admission.in_flight == 0


async def test_a_batch_larger_than_the_limit_is_executed_when_the_server_is_free(server: CommandSide) -> None:
    admission = Admission(max_in_flight=2)
    receipts = await Batches(server, admission=admission).accepted(create(), add("milk"), add("jam"), pay())
    assert [r.version for r in receipts] == [1, 2, 3, 4]
    assert admission.in_flight == 0


async def test_under_pressure_a_batch_is_not_even_read(server: CommandSide) -> None:
    batches = Batches(server, admission=Admission(max_in_flight=9, pressure=lambda: "too much"))
    with pytest.raises(Overloaded):
        await batches.send()


async def test_a_batch_that_is_wrong_gives_its_place_back(server: CommandSide) -> None:
    admission = Admission(max_in_flight=9)
    with pytest.raises(InvalidRequest):
        await Batches(server, admission=admission).send()
    assert admission.in_flight == 0
