"""Callers, importers and readers at work on one cluster, and blows that hit it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc

from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from shop.orders.v1.query_service_pb2_grpc import QueryServiceStub
from tests.e2e.cluster.blows import Blows
from tests.e2e.cluster.importer import Importer
from tests.e2e.cluster.processes import Cluster
from tests.e2e.cluster.spread import Judged, Spread, Told
from tests.e2e.cluster.verdict import Fact, audit_orders, read_log, rows_of
from tests.e2e.conditions import until
from tests.e2e.drill.audit import Findings, audit_log, audit_watch
from tests.e2e.drill.callers import Caller
from tests.e2e.drill.journal import Journal
from tests.e2e.drill.watchers import STREAM, Watch, nats_connection, watch_log, watch_stream
from tests.e2e.shop import Shop, an_order, new_id
from twofold.v1.batch_service_pb2_grpc import BatchServiceStub
from twofold.v1.event_service_pb2_grpc import EventServiceStub

SHARED_ORDERS = 3
EVERYBODY = "everybody"
"""The customer of the orders that all callers change."""
PAUSES = (0.03, 0.5)
"""The part of the commits that pause before they are done, and the longest pause in seconds."""


@dataclass(frozen=True)
class Scale:
    """How much one drill does."""

    servers: int
    positions: int
    """Events, at least."""
    blows: int
    """Blows, at least."""
    pause: float
    """The longest pause between two blows, in seconds."""
    callers: int
    importers: int
    orders: int
    """Orders in a batch of an importer."""


class Ways:
    """Stubs that go to any of the command servers, and one of queries."""

    def __init__(
        self, servers: list[grpc.aio.Channel], queries: grpc.aio.Channel, chance: random.Random
    ) -> None:
        self.commands = Spread([CommandServiceStub(channel) for channel in servers], chance)
        self.batches = Spread([BatchServiceStub(channel) for channel in servers], chance)
        self.events = Spread([EventServiceStub(channel) for channel in servers], chance)
        self.queries = QueryServiceStub(queries)

    def shop(self, told: Told) -> Shop:
        """The shop as one caller sees it."""
        return Shop(
            client=cast("Any", None),
            commands=cast("Any", Judged(self.commands, told)),
            queries=cast("Any", self.queries),
            events=cast("Any", self.events),
        )


class Drill:
    """One drill."""

    def __init__(self, cluster: Cluster, ways: Ways, scale: Scale, seed: int) -> None:
        self.journal = Journal()
        self.subscriber, self.reader = Watch(), Watch()
        self._cluster = cluster
        self._ways = ways
        self._scale = scale
        self._chance = random.Random(seed)
        self._shared: dict[str, Any] = {}
        self._told: list[Told] = []
        self._importers: list[Importer] = []

    async def run(self) -> list[Fact]:
        """All blows; the whole log at their end, which everybody has then seen."""
        await self._pause_commits(*PAUSES, install=True)
        self._shared = dict([await self._share() for _ in range(SHARED_ORDERS)])
        async with self._watched():
            async with self._under_load():
                await self._blows()
            return await self._quiet()

    async def findings(self, log: list[Fact]) -> Findings:
        """Everything that is wrong; nothing should be."""
        customers = [EVERYBODY, *(f"caller-{n}" for n in range(self._scale.callers))]
        customers += [importer.name for importer in self._importers]
        rows = await rows_of(self._ways.queries, customers, head=len(log))
        recorded = cast("Any", log)
        return (
            audit_log(recorded, self.journal)
            | audit_watch("the subscriber", self.subscriber, recorded)
            | audit_watch("the reader of JetStream", self.reader, recorded)
            | {"messages of JetStream that are no event": await self._messages() - len(log)}
            | audit_orders(self._told, self._shared, self._importers, rows)
        )

    def counts(self, log: list[Fact]) -> dict[str, int]:
        """What was done."""
        return dict(self.journal.counts) | {
            "acknowledged": len(self.journal.done),
            "positions": len(log),
            "orders": len({event.stream_name for event in log}),
            "orders of importers": sum(len(importer.orders) for importer in self._importers),
            "commands on shared orders": sum(len(told.accepted) for told in self._told),
            "subscriber went to another server": self.subscriber.resumed,
            "reader of JetStream resumed": self.reader.resumed,
        }

    @property
    def disputes(self) -> list[str]:
        """Answers that the model of an order does not give."""
        return [dispute for told in self._told for dispute in told.disputes]

    async def _blows(self) -> None:
        dealt = 0
        for name, strike in Blows(self._cluster, self._chance):
            if dealt >= self._scale.blows and self.subscriber.last >= self._scale.positions:
                return
            if dealt < self._scale.blows or self._chance.random() < 0.3:
                await strike()
                dealt += 1
                self.journal.counts[name] += 1
            await asyncio.sleep(self._chance.uniform(0, self._scale.pause))
            self._cluster.revive()

    async def _share(self) -> tuple[str, Any]:
        create = an_order(customer_id=EVERYBODY, order_id=new_id())
        receipt = (await self._ways.commands.CreateOrder(create)).receipt
        self.journal.acknowledge(create.request_id, "CreateOrder", receipt)
        return receipt.aggregate_id, create

    @asynccontextmanager
    async def _under_load(self) -> AsyncIterator[None]:
        stop, scale = asyncio.Event(), self._scale
        self._told = [Told(list(self._shared)) for _ in range(scale.callers)]
        callers = [
            Caller(self._ways.shop(told), self.journal, shared=list(self._shared), seed=n)
            for n, told in enumerate(self._told)
        ]
        self._importers = [
            Importer(self._ways.batches, self.journal, orders=scale.orders, seed=n)
            for n in range(scale.importers)
        ]
        work = [caller.run(stop) for caller in callers] + [each.run(stop) for each in self._importers]
        async with _failing_together(*work):
            try:
                yield
            finally:
                stop.set()

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        watching = [
            asyncio.create_task(watch_log(self._ways.shop(Told([])), self.subscriber)),
            asyncio.create_task(watch_stream(self._cluster.nats.url, self.reader)),
        ]
        try:
            yield
            for task in watching:
                assert not task.done(), task.exception()
        finally:
            await _cancel(watching)

    async def _quiet(self) -> list[Fact]:
        await self._pause_commits(0, 0)
        await self._cluster.serves()
        log = await read_log(self._ways.events)
        with contextlib.suppress(AssertionError):  # the table says what is missing
            await until(
                lambda: self.subscriber.last == len(log) == self.reader.last, "all is seen", seconds=300
            )
        return log

    async def _pause_commits(self, part: float, seconds: float, *, install: bool = False) -> None:
        async with self._cluster.commit_pauses(install=install) as pauses:
            await pauses.at_random(part, seconds)

    async def _messages(self) -> int:
        async with nats_connection(self._cluster.nats.url) as client:
            state = (await client.jetstream(timeout=10).stream_info(STREAM)).state
        return int(state.messages)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """End tasks; the client of NATS swallows a cancellation now and then."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=1)


@asynccontextmanager
async def _failing_together(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run work beside the block and wait for it at the end; the first failure ends all of it."""
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
        yield
