"""Whatever is killed, and whenever: nothing that was acknowledged is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shop.orders.v1.query_service_pb2_grpc import QueryServiceStub
from tests.e2e.cluster.importer import Importer
from tests.e2e.cluster.spread import channels
from tests.e2e.conditions import until
from tests.e2e.drill.audit import Findings, audit_database, audit_log, audit_stream, audit_watch
from tests.e2e.drill.blows import Blow, Running, blows
from tests.e2e.drill.callers import Caller
from tests.e2e.drill.journal import Journal
from tests.e2e.drill.read_model import audit_read_model
from tests.e2e.drill.rebuilder import Rebuilder, audit_by_verify
from tests.e2e.drill.report import table
from tests.e2e.drill.scale import SCALE, SECONDS
from tests.e2e.drill.watchers import Watch, nats_connection, watch_log, watch_stream
from tests.e2e.shop import Shop, an_order, visiting
from tests.e2e.systems import System, a_system
from twofold.v1.batch_service_pb2_grpc import BatchServiceStub
from twofold.v1.recorded_event_pb2 import RecordedEvent

pytestmark = [pytest.mark.drill, pytest.mark.timeout(SECONDS)]

SHARED_ORDERS = 3
AGAIN = 0.3
"""The chance that a blow hits a system that has not recovered from the one before."""


class Drill:
    """Callers and readers at work on one system, and blows that hit it."""

    def __init__(self, system: System, seed: int) -> None:
        self.journal = Journal()
        self.subscriber, self.reader = Watch(), Watch()
        self._system = system
        self._chance = random.Random(seed)
        self._running = Running(system)

    async def run(self) -> list[RecordedEvent]:
        """All rounds; the whole log at their end, which everybody has then seen."""
        await self._running.start()
        await self._running.recovered()
        async with visiting(self._system) as shop, self._watched(shop):
            async with self._under_load(shop):
                await self._rounds()
            return await self._quiet(shop)

    async def _rounds(self) -> None:
        sequence = blows(self._running, self._chance)
        for _ in range(SCALE.rounds):
            await self._some_work()
            await self._strike(next(sequence))
            if self._chance.random() < AGAIN:
                await self._strike(next(sequence))
            await self._running.recovered()
        await self._some_work()

    async def _strike(self, blow: Blow) -> None:
        name, strike = blow
        await strike()
        self.journal.counts[f"killed: {name}"] += 1

    async def _some_work(self) -> None:
        """Let callers come on, and then a moment that nobody can foresee."""
        enough = len(self.journal.done) + SCALE.accepted_a_round
        await until(lambda: len(self.journal.done) >= enough, "callers come on", seconds=120)
        await asyncio.sleep(self._chance.uniform(0, 0.3))

    @contextlib.asynccontextmanager
    async def _under_load(self, shop: Shop) -> AsyncIterator[None]:
        shared = [await self._share(shop) for _ in range(SHARED_ORDERS)]
        stop = asyncio.Event()
        importer = Importer(shop.client.stub(BatchServiceStub), self.journal, orders=2, seed=SCALE.callers)
        rebuilder = Rebuilder(self._system.projector_address, self.journal)
        async with channels([self._system.query_address]) as [queries]:
            # The client's session would ask with the newest token that any of the callers has seen.
            strangers = replace(shop, queries=QueryServiceStub(queries))
            callers = [Caller(strangers, self.journal, shared=shared, seed=n) for n in range(SCALE.callers)]
            work = [importer.run(stop), rebuilder.run(stop), *(caller.run(stop) for caller in callers)]
            async with _failing_together(*work):
                try:
                    yield
                finally:
                    stop.set()

    async def _share(self, shop: Shop) -> str:
        create = an_order(customer_id="everybody")
        receipt = (await shop.commands.CreateOrder(create)).receipt
        self.journal.acknowledge(create.request_id, "CreateOrder", receipt)
        return receipt.aggregate_id

    @contextlib.asynccontextmanager
    async def _watched(self, shop: Shop) -> AsyncIterator[None]:
        watching = [
            asyncio.create_task(watch_log(shop, self.subscriber)),
            asyncio.create_task(watch_stream(self._system.nats_url, self.reader)),
        ]
        try:
            yield
            for task in watching:
                assert not task.done(), task.exception()
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _quiet(self, shop: Shop) -> list[RecordedEvent]:
        await self._running.recovered()
        log = await shop.log()
        with contextlib.suppress(AssertionError):  # the table says what is missing
            await until(lambda: self.subscriber.last == len(log) == self.reader.last, "all is seen")
        return log

    async def stop(self) -> None:
        """Stop the system in order."""
        assert await self._running.up.stop() == 0

    async def stream_findings(self, log: list[RecordedEvent]) -> Findings:
        """What the stream in NATS has, while that still runs."""
        async with nats_connection(self._system.nats_url) as client:
            return await audit_stream(client.jetstream(timeout=10), log)

    def findings(self, log: list[RecordedEvent]) -> Findings:
        """Everything that can be found out once the system has stopped."""
        return (
            audit_log(log, self.journal)
            | audit_watch("the subscriber", self.subscriber, log)
            | audit_watch("the reader of JetStream", self.reader, log)
            | audit_database(self._system.event_database, log)
            | audit_read_model(self._system.read_database, log)
        )


@contextlib.asynccontextmanager
async def _failing_together(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run work beside the block and wait for it at the end; the first failure ends all of it."""
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
        yield


async def test_nothing_is_lost_doubled_or_torn_by_crashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Any
) -> None:
    seed, started = random.randrange(2**32), time.monotonic()
    record_property("seed", seed)
    async with a_system(tmp_path, log_level="warning") as system:
        drill = Drill(system, seed)
        log = await drill.run()
        faults = await drill.stream_findings(log) | await audit_by_verify(system.projector_address)
        await drill.stop()
        faults |= drill.findings(log)
    done = dict(drill.journal.counts) | {
        "acknowledged": len(drill.journal.done),
        "events": len(log),
        "orders": len({event.stream_name for event in log}),
        "seconds": round(time.monotonic() - started),
        "subscriber resumed": drill.subscriber.resumed,
        "reader of JetStream resumed": drill.reader.resumed,
        "seed": seed,
    }
    with capsys.disabled():
        print(table("crash drill", done, faults))  # noqa: T201
    assert not any(faults.values()), (faults, drill.journal.contradictions[:10])
