"""Loading an aggregate of 100,000 events with a snapshot, beside one of 10 events.

In process: what a command server does for the first command on an aggregate that is not in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path

from uuid_utils import uuid7

from bench.filling import BATCH, database_url, in_batches, new_orders
from bench.orders import numbered_id
from bench.report import Line, at_most, ratio
from bench.run import Run
from bench.turns import in_turns
from shop.orders.v1.events_pb2 import OrderItemQuantityChanged
from shop_contexts.orders.decider import order
from twofold_server.commands.snapshots import Snapshots
from twofold_server.commands.streams import HotStreams
from twofold_server.contexts import discover
from twofold_server.database import open_database
from twofold_server.event_store.appending import Append
from twofold_server.event_store.events import NewEvent
from twofold_server.event_store.expected_version import Exactly
from twofold_server.event_store.sql import SqlEventStore
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import EventMetadata

PASTS = {"100,000 events, with a snapshot": 100_000, "10 events": 10}
"""How many events each aggregate has."""
LOADS = 200
"""Loads in a round; the median of them counts."""
PRODUCT = "tea-green"


def measure(run: Run) -> Sequence[Line]:
    """The times, and their ratio."""
    file = run.new_folder() / "events.db"
    run.say("filling two orders with their pasts")
    asyncio.run(_fill(file))
    samples = in_turns(run, {what: partial(_load, file, numbered_id(n)) for n, what in enumerate(PASTS)})
    old, young = samples.values()
    return [
        *(Line(what=what, rounds=found, unit="ms") for what, found in samples.items()),
        ratio("100,000 events ÷ 10 events", old, young, at_most(2)),
    ]


async def _fill(file: Path) -> None:
    async with open_database(database_url(file), synchronous="OFF") as database:
        store = await SqlEventStore.open(database)
        await store.append(list(new_orders(store.log_id, map(numbered_id, range(len(PASTS))))))
        for n, length in enumerate(PASTS.values()):
            changes = (_change(numbered_id(n), version) for version in range(1, length))
            for batch in in_batches(changes, BATCH):
                await store.append(batch)
        snapshots = Snapshots(store, every=100)
        stream = await _streams(store).load(f"order-{numbered_id(0)}", order)
        snapshots.offer(stream.name, order, stream.version, stream.state)
        await _written(store, snapshots, stream.name)


def _change(order_id: str, version: int) -> Append:
    event = OrderItemQuantityChanged(order_id=order_id, product_id=PRODUCT, quantity=1 + version % 9)
    new = NewEvent(str(uuid7()), event.DESCRIPTOR.full_name, 1, event.SerializeToString(), EventMetadata())
    return Append(
        stream_name=f"order-{order_id}", expected=Exactly(version), events=[new], respond=lambda _: b""
    )


async def _written(store: SqlEventStore, snapshots: Snapshots, name: str) -> None:
    writing = asyncio.create_task(snapshots.run())
    for _ in count():
        if (await store.load_stream(name, state_revision=order.state_revision, limit=1)).snapshot:
            break
        await asyncio.sleep(0.01)
    writing.cancel()


def _streams(store: SqlEventStore) -> HotStreams:
    contexts = discover(("shop_contexts",))
    return HotStreams(store, EventCodec(contract for _, contract in contexts), capacity=1)


def _load(file: Path, order_id: str) -> float:
    return asyncio.run(_median_load(file, f"order-{order_id}"))


async def _median_load(file: Path, name: str) -> float:
    async with open_database(database_url(file)) as database:
        store = await SqlEventStore.open(database)
        seconds = []
        for _ in range(LOADS):
            streams = _streams(store)
            began = time.perf_counter()
            await streams.load(name, order)
            seconds.append(time.perf_counter() - began)
    return sorted(seconds)[LOADS // 2] * 1000
