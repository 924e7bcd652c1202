"""A cache in front of a read model in memory, with notices that a test delivers and clocks that it turns."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any, cast

from shop.orders.v1.query_service_pb2 import GetOrderRequest, GetOrderResponse
from shop.orders.v1.views_pb2 import Order
from shop_contexts import orders
from twofold.v1.reading_pb2 import ReadInfo, ReadOptions
from twofold_server.messages.contract import read_contract
from twofold_server.messages.tokens import consistency_token
from twofold_server.projections.checkpoints import Checkpoint
from twofold_server.projections.notices import Written, progress_notice
from twofold_server.queries.answer import Answer, Generation, serialized
from twofold_server.queries.cache.caching import Caching, SharedLevel
from twofold_server.queries.cache.changes import Changes
from twofold_server.queries.cache.entries import Entry
from twofold_server.queries.cache.metrics import CacheMetrics
from twofold_server.queries.cache.plans import Plan, find_plans
from twofold_server.queries.call import QueryCall
from twofold_server.queries.positions import Positions

LOG = "0199a1b2-0000-7000-8000-000000000000"
CONTRACT = read_contract("shop.orders.v1")
PLANS = find_plans([(orders.context, CONTRACT)])
TTL = 20.0


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ReadModel:
    """Orders of which only the version changes, and the notices of their projector."""

    def __init__(self) -> None:
        self.epoch = 1
        self.version = 1
        self.position = 0
        self.versions: dict[str, int] = {}
        self.reads = 0

    def write(self, order_id: str) -> bytes:
        """An event is applied; the notice of it."""
        self.position += 1
        self.versions[order_id] = self.versions.get(order_id, 0) + 1
        return self.told({"orders": [order_id]})

    def rewrite(self, order_id: str) -> bytes:
        """The row is mended; the notice of it."""
        self.epoch += 1
        self.versions[order_id] = self.versions.get(order_id, 0) + 1
        return self.notice()

    def notice(self) -> bytes:
        """The projector tells again where it is."""
        return progress_notice(self._checkpoint(), None)

    def told(self, touched: dict[str, list[str]] | None) -> bytes:
        """The projector tells what it wrote last; None is too much to tell."""
        return progress_notice(self._checkpoint(), Written(self.position - 1, self.position, touched))

    def _checkpoint(self) -> Checkpoint:
        here = self.position
        return Checkpoint("orders", LOG, self.version, self.epoch, here, 0, here, created_at=5)

    def read(self, order_id: str) -> Answer:
        """Read an order in a snapshot."""
        self.reads += 1
        body = GetOrderResponse(order=Order(order_id=order_id, version=self.versions.get(order_id, 0)))
        token = consistency_token(LOG, self.position)
        return Answer(
            body=body.SerializeToString(),
            read_info=serialized(ReadInfo(position=self.position, consistency_token=token), GetOrderResponse),
            position=self.position,
            token=token,
            generation=Generation(LOG, self.version, self.epoch, begun_at=5),
        )


class SharedDict:
    """A shared level in a dict."""

    def __init__(self) -> None:
        self.entries: dict[Any, Entry] = {}

    async def get(self, plan: Plan, generation: Generation, key: bytes) -> Entry | None:
        return self.entries.get((plan.projection, generation.epoch, generation.version, key))

    def put(self, plan: Plan, generation: Generation, key: bytes, entry: Entry) -> None:
        self.entries[plan.projection, generation.epoch, generation.version, key] = entry


class CachedSide:
    """One query server."""

    def __init__(
        self,
        model: ReadModel,
        *,
        shared: SharedLevel | None = None,
        clock: Clock | None = None,
        entries: int = 100,
    ) -> None:
        self.model = model
        self.clock = clock or Clock()
        self.changes = Changes(clock=self.clock)
        self.metrics = CacheMetrics()
        self.positions = Positions(store=cast(Any, _NoStore()), read_checkpoint=cast(Any, None))
        self._caching = Caching(
            plans=PLANS,
            changes=self.changes,
            positions=self.positions,
            metrics=self.metrics,
            entries=entries,
            ttl=TTL,
            shared=shared,
            clock=self.clock,
        )

    def hear(self, *notices: bytes) -> None:
        """Notices come in."""
        for notice in notices:
            self.changes.heard("orders", notice)

    async def ask(self, order_id: str, *, token: int = 0, pause: Awaitable[None] | None = None) -> Answer:
        """Ask for an order; ``pause`` is awaited between reading it and having it."""

        async def proceed(call: QueryCall) -> Answer:
            answer = self.model.read(call.request.order_id)
            if pause is not None:
                await pause
            return answer

        request = GetOrderRequest(order_id=order_id)
        if token:
            request.read_options.CopyFrom(ReadOptions(consistency_token=consistency_token(LOG, token)))
        contract = CONTRACT.queries[request.DESCRIPTOR.full_name]
        return await self._caching.answer(QueryCall(contract=contract, request=request), proceed)


class Pause:
    """Awaited once, until whoever drives the coroutine goes on."""

    def __await__(self) -> Generator[None]:
        yield


class _NoStore:
    async def read(self, _: Any) -> None:
        return None


def order_in(answer: Answer) -> Order:
    """The order of an answer."""
    return GetOrderResponse.FromString(answer.content).order


def info_in(answer: Answer) -> ReadInfo:
    """How fresh an answer says that it is."""
    return GetOrderResponse.FromString(answer.content).read_info
