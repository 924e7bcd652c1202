"""Callers that mix commands and reads, never give up on a request id, and write down what they are told."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1.query_service_pb2 import GetOrderRequest
from tests.e2e.drill.journal import Journal
from tests.e2e.shop import Shop, a_payment, an_order, item, money, new_id
from twofold.v1.command_pb2 import CommandOptions, Receipt
from twofold.v1.reading_pb2 import ON_STALE_FAIL, ReadOptions
from twofold_client import error_of

_ASK_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_FOR_GOOD = {
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.ABORTED,
}
_CONTENTION = "CONTENTION"
_PAUSE_SECONDS = 0.05
_THINK_SECONDS = 0.01


class Unexpected(AssertionError):
    """An answer that no caller should ever get."""


@dataclass(frozen=True)
class Command:
    """A command that was sent."""

    method: str
    request: Any


class Caller:
    """One customer: makes orders, takes them further, shares some with all others."""

    def __init__(self, shop: Shop, journal: Journal, *, shared: list[str], seed: int) -> None:
        """``shop``: its queries say nothing of tokens themselves; ``shared``: the orders that all change."""
        self._shop = shop
        self._journal = journal
        self._shared = shared
        self._random = random.Random(seed)
        self._name = f"caller-{seed}"
        self._orders: list[str] = []
        self._sent: list[Command] = []
        self._numbers = itertools.count(2)

    async def run(self, stop: asyncio.Event) -> None:
        """Act until told to stop; the last command is asked for until it is answered."""
        actions: list[Callable[[], Awaitable[None]]] = [
            self._create,
            self._take_further,
            self._change_shared,
            self._repeat,
            self._expect_a_version,
            self._create_and_wait,
        ]
        while not stop.is_set():
            [action] = self._random.choices(actions, weights=[25, 35, 20, 10, 5, 5])
            await action()
            await asyncio.sleep(self._random.uniform(0, _THINK_SECONDS))

    async def _create(self) -> None:
        receipt = await self._ask("CreateOrder", self._new_order())
        if receipt is not None:
            self._orders.append(receipt.aggregate_id)

    async def _create_and_wait(self) -> None:
        """Have the receipt wait for the read model, which then shows the order to whoever asks."""
        create = self._new_order()
        create.options.wait_for.append("orders")
        receipt = await self._ask("CreateOrder", create)
        if receipt is not None:
            self._journal.counts["waited for the read model"] += 1
            await self._read_back(receipt, ReadOptions())

    def _new_order(self) -> commands.CreateOrderRequest:
        items = [item(f"p{n}", self._random.randint(1, 9), money(n + 1, 990_000_000)) for n in range(3)]
        create = an_order(*items[: self._random.randint(1, 3)], customer_id=self._name)
        if self._random.random() < 0.5:
            create.order_id = new_id()
        return create

    async def _take_further(self) -> None:
        """Any command, allowed or not."""
        if not self._orders:
            return
        order_id = self._random.choice(self._orders[-20:])
        common: dict[str, Any] = {"order_id": order_id, "request_id": new_id()}
        request = self._random.choice(
            [
                self._addition(order_id),
                commands.ChangeItemQuantityRequest(
                    product_id="p0", quantity=next(self._numbers) * 10, **common
                ),
                commands.RemoveOrderItemRequest(product_id="p1", **common),
                commands.PayOrderRequest(payment_reference="card", **common),
                commands.ShipOrderRequest(carrier="DHL", tracking_number="1", **common),
                commands.CompleteOrderRequest(**common),
                commands.CancelOrderRequest(reason="so it goes", **common),
            ]
        )
        receipt = await self._ask(type(request).__name__.removesuffix("Request"), request)
        if receipt is not None and self._random.random() < 0.3:
            token = receipt.consistency_token
            await self._read_back(receipt, ReadOptions(consistency_token=token, on_stale=ON_STALE_FAIL))

    async def _change_shared(self) -> None:
        await self._ask("AddOrderItem", self._addition(self._random.choice(self._shared)))

    async def _repeat(self) -> None:
        """Send a command of the past again: it must be answered as it was then."""
        if not self._sent:
            return
        command = self._random.choice(self._sent)
        receipt = await self._ask(command.method, command.request)
        self._journal.counts["sent again long after"] += 1
        if receipt is not None and not receipt.replayed:
            self._journal.contradictions.append(f"{command} was done again")

    async def _expect_a_version(self) -> None:
        if not self._orders:
            return
        options = CommandOptions(expected_version=self._random.randint(1, 3))
        await self._ask("PayOrder", a_payment(self._random.choice(self._orders), options=options))

    def _addition(self, order_id: str) -> commands.AddOrderItemRequest:
        return commands.AddOrderItemRequest(
            order_id=order_id, product_id="extra", quantity=1, unit_price=money(1), request_id=new_id()
        )

    async def _ask(self, method: str, request: Any) -> Receipt | None:
        """Send a command until it is answered for good; None where it was refused."""
        while True:
            try:
                answer = await getattr(self._shop.commands, method)(request, timeout=self._patience())
            except grpc.aio.AioRpcError as error:
                if error.code() in _ASK_AGAIN or error_of(error).reason == _CONTENTION:
                    await self._wait(error)
                    continue
                self._note_refusal(method, request, error)
                return None
            receipt: Receipt = answer.receipt
            self._note(method, request, receipt)
            return receipt

    def _patience(self) -> float:
        """Mostly seconds; sometimes so little that the answer comes too late."""
        return self._random.uniform(0.001, 0.01) if self._random.random() < 0.05 else 5.0

    def _note(self, method: str, request: Any, receipt: Receipt) -> None:
        self._journal.acknowledge(request.request_id, method, receipt)
        self._journal.counts["answered with replayed"] += receipt.replayed
        self._sent.append(Command(method, request))

    def _note_refusal(self, method: str, request: Any, error: grpc.aio.AioRpcError) -> None:
        if error.code() not in _FOR_GOOD:
            raise Unexpected(f"{method} is answered with {error_of(error)}")
        self._journal.refuse(request.request_id, method, error_of(error).reason)

    async def _wait(self, error: grpc.aio.AioRpcError) -> None:
        self._journal.counts[f"asked again: {error.code().name}"] += 1
        await asyncio.sleep(_PAUSE_SECONDS)

    async def _read_back(self, receipt: Receipt, options: ReadOptions) -> None:
        """Read until there is an answer, which must not be older than the receipt."""
        query = GetOrderRequest(order_id=receipt.aggregate_id, read_options=options)
        while True:
            try:
                answer = await self._shop.queries.GetOrder(query, timeout=10)
            except grpc.aio.AioRpcError as error:
                if error.code() in _ASK_AGAIN:
                    await self._wait(error)
                    continue
                raise Unexpected(f"GetOrder is answered with {error_of(error)}") from error
            self._journal.counts["read back"] += 1
            if answer.order.version < receipt.version or answer.read_info.stale:
                self._journal.counts["read back stale"] += 1
                told = f"version {answer.order.version} at {answer.read_info}".replace("\n", " ")
                self._journal.contradictions.append(f"after {receipt} a read gave {told}".replace("\n", " "))
            return
