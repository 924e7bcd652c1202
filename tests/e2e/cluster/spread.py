"""Stubs on several servers: each call goes to any of them, as behind a load balancer that knows nothing."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc

from tests.order_model import OrderModel
from twofold_client import error_of

OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
]
_FINAL = {
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INVALID_ARGUMENT,
}


class Spread:
    """Has the methods of a stub; each call goes to one of several."""

    def __init__(self, stubs: Sequence[Any], chance: random.Random) -> None:
        self._stubs = stubs
        self._chance = chance

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda request, **how: getattr(self._chance.choice(self._stubs), method)(request, **how)


class Told:
    """What one caller was told of orders, held against the model of an order while it happens.

    The caller asks for one thing at a time, and its own orders are changed by nobody else, so for them every
    answer is known beforehand. On shared orders only what was accepted is kept, for the end.
    """

    def __init__(self, shared: Sequence[str]) -> None:
        self.models: dict[str, OrderModel] = {}
        """The caller's own orders."""
        self.accepted: dict[str, tuple[int, Any]] = {}
        """On shared orders: the version that each accepted request made, and the request; by request id."""
        self.disputes: list[str] = []
        """Answers that the model does not give."""
        self._shared = set(shared)
        self._known: set[str] = set()

    def accept(self, request: Any, receipt: Any) -> None:
        """A command was accepted, now or before."""
        if receipt.aggregate_id in self._shared:
            self.accepted.setdefault(request.request_id, (receipt.version, request))
        elif request.request_id not in self._known:
            self._known.add(request.request_id)
            model = self.models.setdefault(receipt.aggregate_id, OrderModel())
            reason = model.verdict(request)
            model.apply(request)
            if reason or model.version != receipt.version:
                self.disputes.append(f"{request} was accepted as {receipt}, not {reason} {model.version}")

    def refuse(self, request: Any, reason: str) -> None:
        """A command was refused for good."""
        if request.order_id not in self._shared and request.request_id not in self._known:
            expected = self.models.get(request.order_id, OrderModel()).verdict(request)
            if expected != reason:
                self.disputes.append(f"{request} was refused as {reason}, not {expected or 'accepted'}")


class Judged:
    """A stub of commands whose answers are told to a ``Told``."""

    def __init__(self, stub: Any, told: Told) -> None:
        self._stub = stub
        self._told = told

    def __getattr__(self, method: str) -> Callable[..., Any]:
        async def call(request: Any, **how: Any) -> Any:
            try:
                answer = await getattr(self._stub, method)(request, **how)
            except grpc.aio.AioRpcError as error:
                reason = error_of(error).reason
                if error.code() in _FINAL and reason != "CONTENTION":
                    self._told.refuse(request, reason)
                raise
            self._told.accept(request, answer.receipt)
            return answer

        return call


@asynccontextmanager
async def channels(addresses: Sequence[str]) -> AsyncIterator[list[grpc.aio.Channel]]:
    """A channel to each address, which soon notices that a server is back."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options=OPTIONS))
            for address in addresses
        ]
