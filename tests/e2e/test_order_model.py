"""Whatever is asked of orders, one thing after the other: the servers answer as a simple model does."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from shop.orders.v1.query_service_pb2 import GetOrderRequest
from shop.orders.v1.query_service_pb2_grpc import QueryServiceStub
from tests.e2e.cluster.processes import a_cluster
from tests.e2e.shop import DOMAIN, ENGINE, HOME, item, money, new_id
from tests.e2e.systems import System
from tests.order_model import OrderModel, method_of
from twofold.v1.command_pb2 import CommandOptions, Receipt
from twofold.v1.event_service_pb2 import ReadEventsRequest
from twofold.v1.event_service_pb2_grpc import EventServiceStub
from twofold.v1.reading_pb2 import ReadOptions
from twofold_client import error_of

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL = os.environ.get("TWOFOLD_DRILL") == "full"
HOW_MUCH = settings(
    max_examples=400 if FULL else 12,
    stateful_step_count=60 if FULL else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
CODES = {
    "VERSION_CONFLICT": grpc.StatusCode.ABORTED,
    "ORDER_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "ORDER_ALREADY_EXISTS": grpc.StatusCode.ALREADY_EXISTS,
    "MIXED_CURRENCIES": grpc.StatusCode.INVALID_ARGUMENT,
    "REQUEST_ID_REUSED": grpc.StatusCode.INVALID_ARGUMENT,
}
"""The status of each reason; of all others FAILED_PRECONDITION."""

products = st.sampled_from(["tea", "milk", "jam"])
quantities = st.sampled_from([1, 2, 999_999, 1_000_000])
prices = st.builds(
    money, st.integers(0, 9), st.sampled_from([0, 1, 999_999_999]), st.sampled_from(["EUR", "EUR", "USD"])
)
items = st.lists(st.builds(item, products, quantities, prices), min_size=1, max_size=3)
changes = st.one_of(
    st.builds(commands.AddOrderItemRequest, product_id=products, quantity=quantities, unit_price=prices),
    st.builds(commands.RemoveOrderItemRequest, product_id=products),
    st.builds(commands.ChangeItemQuantityRequest, product_id=products, quantity=quantities),
    st.builds(commands.PayOrderRequest, payment_reference=st.just("card")),
    st.builds(commands.ShipOrderRequest, carrier=st.just("post"), tracking_number=st.just("1")),
    st.builds(commands.CompleteOrderRequest),
    st.builds(commands.CancelOrderRequest, reason=st.just("")),
)
expectations = st.sampled_from(["none", "none", "none", "right", "too low", "too high"])


class Answer:
    """What came of a call: a receipt or a reason."""

    def __init__(self, receipt: Receipt | None, reason: str) -> None:
        self.receipt = receipt
        self.reason = reason


class Orders(RuleBasedStateMachine):
    """Asks one server after the other, and compares. ``paths`` are channels to all command servers and, the
    last one, to the query server."""

    paths: Sequence[grpc.Channel]
    orders = Bundle("orders")
    done = Bundle("done")
    refused = Bundle("refused")

    def __init__(self) -> None:
        super().__init__()
        self._commands = cycle([CommandServiceStub(path) for path in self.paths[:-1]])
        self._queries = QueryServiceStub(self.paths[-1])
        self._models: dict[str, OrderModel] = {}
        self._receipts: dict[str, Receipt] = {}
        self._newest = Receipt()
        self._head = self._read_head()

    def _read_head(self) -> int:
        for answer in EventServiceStub(self.paths[0]).ReadEvents(ReadEventsRequest(limit=1)):
            return int(answer.head_position)
        raise AssertionError("ReadEvents answers nothing")

    # --- what is asked ---------------------------------------------------------------------------

    @rule(target=orders, items=items, known=st.booleans(), wanted=expectations)
    def create(self, items: Sequence[Any], known: bool, wanted: str) -> Any:
        """An order with an id of the caller's or of the server's."""
        order_id = new_id() if known else ""
        request = commands.CreateOrderRequest(
            order_id=order_id, customer_id="ada", items=items, shipping_address=HOME, request_id=new_id()
        )
        _expect(request, OrderModel(), wanted)
        receipt = self._ask_and_compare(request, OrderModel())
        return receipt.aggregate_id if receipt else multiple()

    @rule(target=done, order_id=orders, change=changes, wanted=expectations)
    def change(self, order_id: str, change: Any, wanted: str) -> Any:
        """Any command on an order, allowed or not."""
        request = _copy(change, order_id=order_id, request_id=new_id())
        _expect(request, self._models[order_id], wanted)
        receipt = self._ask_and_compare(request, self._models[order_id])
        return request if receipt else multiple()

    @rule(target=refused, order_id=orders, change=changes)
    def change_in_vain(self, order_id: str, change: Any) -> Any:
        """A command that is refused; its request id stays unused."""
        request = _copy(change, order_id=order_id, request_id=new_id())
        request.options.expected_version = 77
        assert self._ask_and_compare(request, self._models[order_id]) is None
        return request

    @rule(target=done, request=consumes(refused))
    def use_a_refused_id(self, request: Any) -> Any:
        """What was refused is asked again, differently: as if it had never been."""
        request.options.ClearField("expected_version")
        receipt = self._ask_and_compare(request, self._models[request.order_id])
        return request if receipt else multiple()

    @rule(change=changes)
    def change_nothing_that_exists(self, change: Any) -> None:
        """A command on an order that nobody made."""
        self._ask_and_compare(_copy(change, order_id=new_id(), request_id=new_id()), OrderModel())

    @rule(order_id=orders, items=items)
    def create_again(self, order_id: str, items: Sequence[Any]) -> None:
        """An id can be taken once."""
        request = commands.CreateOrderRequest(
            order_id=order_id, customer_id="bob", items=items, shipping_address=HOME, request_id=new_id()
        )
        self._ask_and_compare(request, self._models[order_id])

    @rule(order_id=orders, change=changes, wanted=expectations)
    def validate_only(self, order_id: str, change: Any, wanted: str) -> None:
        """What would happen is told, and does not happen."""
        request = _copy(
            change, order_id=order_id, request_id=new_id(), options=CommandOptions(validate_only=True)
        )
        model = self._models[order_id]
        _expect(request, model, wanted)
        answer = self._ask(request)
        assert answer.reason == model.verdict(request)
        if answer.receipt is not None:
            made = _after(model, request).version - model.version
            assert len(answer.receipt.planned_events) == made
            assert answer.receipt.version == model.version + made
            assert not answer.receipt.position

    @rule(request=done)
    def repeat(self, request: Any) -> None:
        """Whatever has happened since, the first answer is given again."""
        answer = self._ask(request)
        first = Receipt()
        first.CopyFrom(self._receipts[request.request_id])
        first.replayed = True
        assert answer.receipt == first

    @rule(request=done, change=changes, order_id=orders)
    def reuse(self, request: Any, change: Any, order_id: str) -> None:
        """Another command under an id that was used."""
        other = _copy(change, order_id=order_id, request_id=request.request_id)
        if other != request:
            assert self._ask(other).reason == "REQUEST_ID_REUSED"

    @precondition(lambda self: self._newest.consistency_token)
    @rule(order_id=orders)
    def read(self, order_id: str) -> None:
        """The read model shows what the commands have made."""
        fresh = ReadOptions(consistency_token=self._newest.consistency_token)
        answer = self._queries.GetOrder(GetOrderRequest(order_id=order_id, read_options=fresh))
        model, shown = self._models[order_id], answer.order
        assert not answer.read_info.stale
        assert (shown.version, shown.status) == (model.version, model.status)
        assert {each.product_id: each.quantity for each in shown.items} == model.quantities
        assert shown.total.units * 10**9 + shown.total.nanos == model.total

    # --- how it is compared ----------------------------------------------------------------------

    def _ask_and_compare(self, request: Any, model: OrderModel) -> Receipt | None:
        expected = model.verdict(request)
        answer = self._ask(request)
        assert answer.reason == expected, request
        if answer.receipt is None:
            return None
        self._head += model.apply(request)
        receipt = answer.receipt
        assert (receipt.version, receipt.position, receipt.replayed) == (model.version, self._head, False)
        assert receipt.aggregate_id == (request.order_id or receipt.aggregate_id)
        self._models[receipt.aggregate_id] = model
        self._receipts[request.request_id] = self._newest = receipt
        return receipt

    def _ask(self, request: Any) -> Answer:
        try:
            answer = getattr(next(self._commands), method_of(request))(request, timeout=30)
        except grpc.RpcError as error:
            told = error_of(error)
            assert told.code == CODES.get(told.reason, grpc.StatusCode.FAILED_PRECONDITION), told
            assert told.domain in (DOMAIN, ENGINE)
            return Answer(None, told.reason)
        return Answer(answer.receipt, "")


def _copy(command: Any, **fields: Any) -> Any:
    made = type(command)(**fields)
    made.MergeFrom(command)
    return made


def _expect(request: Any, model: OrderModel, wanted: str) -> None:
    if wanted != "none":
        off = {"right": 0, "too low": -1, "too high": 1}[wanted]
        request.options.expected_version = max(0, model.version + off)


def _after(model: OrderModel, request: Any) -> OrderModel:
    after = OrderModel(
        model.version, model.status, model.currency, dict(model.quantities), dict(model.prices)
    )
    after.apply(request)
    return after


def compare(addresses: Sequence[str]) -> None:
    """Run the model beside command servers and, the last one, a query server."""
    with ExitStack() as stack:
        # Blocking channels: hypothesis takes one step after the other.
        paths = [stack.enter_context(grpc.insecure_channel(address)) for address in addresses]
        run_state_machine_as_test(type("Orders", (Orders,), {"paths": paths}), settings=HOW_MUCH)


pytestmark = [pytest.mark.drill, pytest.mark.timeout(3600 if FULL else 300)]


async def test_a_server_answers_as_a_simple_model_of_orders_does(system: System) -> None:
    await asyncio.to_thread(compare, [system.command_address, system.query_address])


@pytest.mark.postgres
async def test_two_servers_on_one_postgres_answer_as_one(tmp_path: Path) -> None:
    async with a_cluster(tmp_path, servers=2) as cluster:
        await cluster.start()
        await asyncio.to_thread(compare, [*cluster.addresses, cluster.system.query_address])
