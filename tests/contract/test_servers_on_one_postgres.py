"""Several command servers on one PostgreSQL: whatever breaks, an answer is true, and it is final."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from shop.orders.v1.events_pb2 import OrderItemAdded
from tests.appends import new_append, new_id
from tests.commit_pauses import CommitPauses
from tests.contract.postgres_logs import a_store, waits_for_a_lock
from tests.tcp_proxy import TcpProxy
from tests.unit.command_side import CommandSide, command_side
from tests.unit.order_messages import ORDER, add, change, create, item, pay
from twofold.v1.command_pb2 import Receipt
from twofold_server.errors import Contention, Rejected, Unavailable
from twofold_server.event_store.snapshots import Snapshot

pytestmark = pytest.mark.postgres


@asynccontextmanager
async def a_server(url: str) -> AsyncIterator[CommandSide]:
    """A command server without its edge."""
    async with a_store(url) as store:
        side = command_side(store)
        yield side
        await side.writer.close()


async def test_a_retry_at_another_server_is_not_refused_while_the_first_try_may_still_commit(
    url: str, far_url: str, proxy: TcpProxy, operator: asyncpg.Connection
) -> None:
    async with a_server(far_url) as cut_off, a_server(url) as other:
        await cut_off.send(create())
        pauses = await CommitPauses.installed(operator)
        changing = change("jam", 2)
        changing.request_id = new_id()
        async with pauses.nothing_commits():
            first = [asyncio.create_task(cut_off.send(each)) for each in (add("jam"), changing)]
            await waits_for_a_lock(operator)
            proxy.cut()
            for task in first:
                with pytest.raises(Unavailable):
                    await task
            # Here the log does not hold the product yet, and the command would be refused for it.
            again = asyncio.create_task(other.send(changing))
            await waits_for_a_lock(operator, 2)
        receipt = await again
        assert (receipt.version, receipt.replayed) == (3, True)


async def test_a_refusal_by_one_server_is_never_based_on_what_another_has_changed(url: str) -> None:
    async with a_server(url) as one, a_server(url) as other:
        await one.send(create(item("tea"), item("milk")))
        await other.send(add("jam"))
        assert (await one.send(change("jam", 5))).version == 3
        await one.send(pay())
        with pytest.raises(Rejected) as refusal:
            await other.send(add("bread"))
        assert refusal.value.reason == "ORDER_NOT_PENDING"


async def test_servers_that_write_to_one_aggregate_apply_each_command_once_in_one_order(url: str) -> None:
    count = 40
    async with a_server(url) as one, a_server(url) as other:
        await one.send(create(item("tea")))
        receipts = await asyncio.gather(
            *(_until_done([one, other][n % 2], add("tea", n + 1)) for n in range(count))
        )
        assert sorted(r.version for r in receipts) == list(range(2, count + 2))
        assert sorted(r.position for r in receipts) == list(range(2, count + 2))
        added = [fact.quantity for fact in await one.facts(ORDER) if isinstance(fact, OrderItemAdded)]
        assert sorted(added) == list(range(1, count + 1))


async def test_a_request_is_answered_alike_by_whichever_server_is_asked(url: str) -> None:
    async with a_server(url) as one, a_server(url) as other:
        creating = create()
        creating.request_id = new_id()
        answers = await asyncio.gather(*(_until_done([one, other][n % 2], creating) for n in range(20)))
        assert len({(a.aggregate_id, a.version, a.position) for a in answers}) == 1
        assert sum(not a.replayed for a in answers) == 1


async def test_servers_that_store_snapshots_of_the_same_streams_do_not_lock_each_other_out(url: str) -> None:
    async with a_store(url) as one, a_store(url) as other:
        for version in range(1, 11):
            batch = [Snapshot(f"order-{n}", version, 1, b"state") for n in range(300)]
            await asyncio.gather(one.write_snapshots(batch), other.write_snapshots(batch[::-1]))
        loaded = await one.load_stream("order-299", state_revision=1)
        assert loaded.snapshot == Snapshot("order-299", 10, 1, b"state")


async def test_servers_that_prune_together_share_the_work(url: str) -> None:
    async with a_store(url) as one, a_store(url) as other:
        await one.append([new_append(f"order-{n}", request_id=new_id()) for n in range(500)])
        pruned = 0
        while found := sum(
            await asyncio.gather(*(each.prune_responses(2**62, limit=40) for each in (one, other) * 2))
        ):
            pruned += found
        assert pruned == 500


async def _until_done(side: CommandSide, command: Any) -> Receipt:
    """The receipt of a command that is sent again while others are faster."""
    while True:
        with contextlib.suppress(Contention):
            return await side.send(command, request_id=command.request_id or new_id())
        await asyncio.sleep(random.random() / 20)
