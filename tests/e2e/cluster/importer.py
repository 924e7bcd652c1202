"""A caller that forwards a stream: batches of commands on orders of its own, until each is answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from shop.orders.v1 import command_service_pb2 as commands
from tests.e2e.drill.callers import Unexpected
from tests.e2e.drill.journal import Journal
from tests.e2e.shop import HOME, item, money, new_id
from tests.order_model import OrderModel, method_of
from twofold.v1.batch_service_pb2 import BatchExecuteRequest, BatchOutcome

_ASK_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_AGAIN = {code.value[0] for code in _ASK_AGAIN} | {grpc.StatusCode.ABORTED.value[0]}
_AFTER_ITS_PREDECESSOR = {grpc.StatusCode.NOT_FOUND.value[0], grpc.StatusCode.FAILED_PRECONDITION.value[0]}
_PAUSE_SECONDS = 0.05


class Importer:
    """Sends batches through ``batches``, a stub of BatchService or several of them."""

    def __init__(self, batches: Any, journal: Journal, *, orders: int, seed: int) -> None:
        """``orders``: how many there are in a batch."""
        self.name = f"importer-{seed}"
        self.orders: list[str] = []
        """The ids of all its orders."""
        self._batches = batches
        self._journal = journal
        self._orders = orders
        self._chance = random.Random(seed)
        self._last: list[Any] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Send one batch after the other; the last one until it is answered."""
        while not stop.is_set():
            if self._last and self._chance.random() < 0.03:
                self._journal.counts["batches sent again long after"] += 1
            else:
                self._last = [each for _ in range(self._orders) for each in self._an_order()]
            await self._send(self._last)

    def _an_order(self) -> list[Any]:
        order_id = new_id()
        self.orders.append(order_id)
        common: dict[str, Any] = {"order_id": order_id}
        made: list[Any] = [
            commands.CreateOrderRequest(
                customer_id=self.name, items=[item("tea", 2, money(3))], shipping_address=HOME, **common
            ),
            commands.AddOrderItemRequest(product_id="milk", quantity=1, unit_price=money(1), **common),
            commands.ChangeItemQuantityRequest(product_id="tea", quantity=5, **common),
            commands.PayOrderRequest(payment_reference="card", **common),
            commands.ShipOrderRequest(carrier="post", tracking_number="1", **common),
        ]
        for command in made:
            command.request_id = new_id()
        return made

    def model(self) -> OrderModel:
        """What each of its orders must be at the end."""
        model = OrderModel()
        for command in self._an_order():
            assert not model.verdict(command)
            model.apply(command)
        self.orders.pop()
        return model

    async def _send(self, left: Sequence[Any]) -> None:
        while left:
            try:
                answer = await self._batches.BatchExecute(_batch(left), timeout=self._patience())
            except grpc.aio.AioRpcError as error:
                if error.code() not in _ASK_AGAIN:
                    raise Unexpected(f"a batch is answered with {error}") from error
                self._journal.counts[f"batches asked again: {error.code().name}"] += 1
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                left = self._unanswered(left, answer.outcomes)

    def _unanswered(self, sent: Sequence[Any], outcomes: Sequence[BatchOutcome]) -> list[Any]:
        """The commands that must be sent again."""
        left: list[Any] = []
        open_orders: set[str] = set()
        for command, outcome in zip(sent, outcomes, strict=True):
            if outcome.HasField("receipt"):
                self._journal.acknowledge(command.request_id, method_of(command), outcome.receipt)
                self._journal.counts["answered with replayed"] += outcome.receipt.replayed
                continue
            after_another = command.order_id in open_orders and outcome.error.code in _AFTER_ITS_PREDECESSOR
            if outcome.error.code not in _AGAIN and not after_another:
                raise Unexpected(f"{command} is answered with {outcome.error}")
            self._journal.counts["commands of batches asked again"] += 1
            open_orders.add(command.order_id)
            left.append(command)
        return left

    def _patience(self) -> float:
        """Mostly long; sometimes so short that the answer comes too late."""
        return self._chance.uniform(0.01, 0.1) if self._chance.random() < 0.03 else 20.0


def _batch(commands_: Sequence[Any]) -> BatchExecuteRequest:
    packed = []
    for command in commands_:
        each = AnyMessage()
        each.Pack(command)
        packed.append(each)
    return BatchExecuteRequest(commands=packed)
