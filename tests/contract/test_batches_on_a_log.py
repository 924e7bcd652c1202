"""Batches of commands on every kind of log: in order on each aggregate, each once, sharing commits."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

from tests.contract.event_stores import Log
from tests.unit.batch_side import Batches, asked, receipt, refused
from tests.unit.command_side import command_side
from tests.unit.order_messages import add, complete, create, item, pay, remove, ship
from twofold_server.event_store.store import EventStore

LIFE = [create(item("tea"), item("milk")), remove("milk"), pay(), ship(), complete()]
"""Commands each of which is refused without the one before it."""


def new_id() -> str:
    return str(uuid.uuid4())


def lives(count: int, seed: int) -> list[Any]:
    """The lives of so many orders, with request ids; what comes on one order stays in its order."""
    left = [[asked(step, order_id=order, request_id=new_id()) for step in LIFE] for order in ids(count)]
    dice, mixed = random.Random(seed), []
    while left:
        life = dice.choice(left)
        mixed.append(life.pop(0))
        if not life:
            left.remove(life)
    return mixed


def ids(count: int) -> list[str]:
    return [new_id() for _ in range(count)]


async def test_orders_live_in_one_batch_whatever_the_server_remembers(store: EventStore) -> None:
    server = command_side(store, capacity=2, max_batch=30)
    batch = lives(40, seed=1)
    receipts = await Batches(server).accepted(*batch)
    versions: dict[str, list[int]] = {}
    for each in receipts:
        versions.setdefault(each.aggregate_id, []).append(each.version)
    assert list(versions.values()) == [[1, 2, 3, 4, 5]] * 40
    assert sorted(each.position for each in receipts) == list(range(1, 201))
    assert server.writer.statistics.take()["commits"] < 40


async def test_a_batch_that_two_servers_get_at_the_same_time_is_done_once(log: Log) -> None:
    async with log() as one, log() as other:
        batch = lives(20, seed=2)
        servers = [Batches(command_side(store, capacity=5, max_batch=20)) for store in (one, other)]
        both = await asyncio.gather(*(server.send(*batch) for server in servers))
        again = await servers[0].accepted(*batch)
        assert await one.head() == 100
    for told in zip(*both, again, strict=True):
        versions = {receipt(each).version for each in told[:2] if each.HasField("receipt")}
        assert versions <= {told[2].version}
        assert told[2].replayed


async def test_batches_of_two_servers_on_one_order_leave_no_hole(log: Log) -> None:
    async with log() as one, log() as other:
        servers = [Batches(command_side(store, max_batch=10)) for store in (one, other)]
        await servers[0].accepted(create())
        both = await asyncio.gather(*(server.send(*[add("tea", 1)] * 40) for server in servers))
        accepted = [[o.receipt.version for o in told if o.HasField("receipt")] for told in both]
        assert await one.head() == 1 + sum(map(len, accepted))
    assert sorted(accepted[0] + accepted[1]) == list(range(2, 2 + sum(map(len, accepted))))
    others = {refused(o)[1] for told in both for o in told if not o.HasField("receipt")}
    assert others <= {"CONTENTION"}
