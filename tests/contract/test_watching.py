"""An order that is watched, whatever the read store stands on."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from shop.orders.v1.query_service_pb2 import WatchOrderRequest, WatchOrderResponse
from shop.orders.v1.values_pb2 import OrderStatus
from shop_contexts import orders
from shop_contexts.orders.projections import orders_projection
from tests.order_histories import History, folded, order_codec
from twofold.v1.reading_pb2 import ON_STALE_FAIL, ReadOptions
from twofold_server.database import open_database
from twofold_server.errors import InvalidRequest, NotFound, ProjectionLag, Unavailable
from twofold_server.messages.contract import read_contract
from twofold_server.messages.tokens import consistency_token
from twofold_server.projections.checkpoints import read_checkpoint
from twofold_server.projections.fold import Fold
from twofold_server.projections.schema import is_prepared, prepare
from twofold_server.queries import positions
from twofold_server.queries.bus import find_queries
from twofold_server.queries.call import QueryCall
from twofold_server.queries.positions import Positions
from twofold_server.queries.read_store import ReadStore
from twofold_server.queries.snapshot_reads import SnapshotReads
from twofold_server.queries.watching import Watches

LOG = str(uuid.uuid4())
CONTRACT = read_contract("shop.orders.v1")
PAID = OrderStatus.ORDER_STATUS_PAID
Watched = AsyncGenerator[WatchOrderResponse, None]


class Side:
    """A read store that a test fills, and what watches it."""

    def __init__(self, fold: Fold, store: ReadStore) -> None:
        self.history = History()
        self.stopping = asyncio.Event()
        self.positions = Positions(store=store, read_checkpoint=read_checkpoint)
        self._fold = fold
        reads = SnapshotReads(store=store, positions=self.positions, read_checkpoint=read_checkpoint)
        queries = find_queries([(orders.context, CONTRACT)])
        self._watches = Watches(reads, queries, stopping=self.stopping)

    async def fold(self, *, told: bool = True) -> None:
        """The projector applies what has happened, and tells of it or not."""
        if not self._fold.is_mine:
            await self._fold.take_over(LOG)
        await self._fold.apply(self.history.events, head=self.history.head)
        if told:
            mine = self._fold.checkpoint
            self.positions["orders"].heard(mine.log_id, mine.position, mine.head)

    async def watch(self, order_id: str, resume_token: str = "", **options: Any) -> Watched:
        """WatchOrder."""
        request = WatchOrderRequest(
            order_id=order_id, resume_token=resume_token, read_options=ReadOptions(**options)
        )
        call = QueryCall(contract=CONTRACT.queries[request.DESCRIPTOR.full_name], request=request)
        async with aclosing(self._watches.watch(call)) as answers:
            async for answer in answers:
                yield WatchOrderResponse.FromString(answer)


@pytest.fixture
async def side(database_url: str) -> AsyncIterator[Side]:
    async with open_database(database_url) as database:
        await database.write(lambda c: prepare(c, [orders_projection]))
        async with ReadStore(url=database_url, is_prepared=is_prepared) as store:
            fold = Fold(database=database, projection=orders_projection, codec=order_codec())
            side = Side(fold, store)
            yield side
            await side.positions.close()


async def is_quiet(watched: Watched) -> bool:
    """Whether nothing comes although there would have been time; ends the watching."""
    coming = asyncio.ensure_future(anext(watched))
    done, _ = await asyncio.wait({coming}, timeout=0.4)
    coming.cancel()
    await asyncio.wait({coming})
    return not done


async def test_first_comes_the_order_and_then_every_change(side: Side) -> None:
    order_id = side.history.created()
    await side.fold()
    async with aclosing(side.watch(order_id)) as watched:
        assert (await anext(watched)).order == folded(side.history.events)[order_id]
        for change in (side.history.paid, side.history.shipped):
            change(order_id)
            await side.fold()
            found = await anext(watched)
            assert found.order == folded(side.history.events)[order_id]
            assert found.read_info.position == side.history.head


async def test_a_lost_notice_costs_a_moment(side: Side) -> None:
    order_id = side.history.created()
    await side.fold(told=False)
    async with aclosing(side.watch(order_id)) as watched:
        await anext(watched)
        side.history.paid(order_id)
        await side.fold(told=False)
        async with asyncio.timeout(5):
            assert (await anext(watched)).order.status == PAID


async def test_a_notice_is_enough(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "LOOK_SECONDS", 60)
    order_id = side.history.created()
    await side.fold()
    async with aclosing(side.watch(order_id)) as watched:
        await anext(watched)
        side.history.paid(order_id)
        await side.fold()
        async with asyncio.timeout(2):
            assert (await anext(watched)).order.status == PAID


async def test_changes_of_other_orders_are_not_told(side: Side) -> None:
    order_id, other = side.history.created(), side.history.created()
    await side.fold()
    watched = side.watch(order_id)
    await anext(watched)
    side.history.paid(other)
    await side.fold()
    assert await is_quiet(watched)


async def test_a_watch_is_resumed_without_a_repeat_or_a_gap(side: Side) -> None:
    order_id = side.history.created()
    await side.fold()
    async with aclosing(side.watch(order_id)) as watched:
        token = (await anext(watched)).read_info.consistency_token
    assert await is_quiet(side.watch(order_id, token))
    side.history.paid(order_id)
    await side.fold()
    async with aclosing(side.watch(order_id, token)) as watched:
        found = await anext(watched)
        assert found.order.status == PAID
    assert await is_quiet(side.watch(order_id, found.read_info.consistency_token))


async def test_the_first_answer_is_as_fresh_as_its_token(side: Side) -> None:
    side.history.created()
    await side.fold()
    order_id = side.history.created()
    async with aclosing(side.watch(order_id, consistency_token=consistency_token(LOG, 2))) as watched:
        coming = asyncio.ensure_future(anext(watched))
        await asyncio.sleep(0.05)
        assert not coming.done()
        await side.fold()
        assert (await coming).order.order_id == order_id


async def test_a_token_that_is_not_reached_is_told(side: Side) -> None:
    order_id = side.history.created()
    await side.fold()
    far: dict[str, Any] = {"consistency_token": consistency_token(LOG, 9), "max_wait": {"nanos": 1000}}
    async with aclosing(side.watch(order_id, **far)) as watched:
        assert (await anext(watched)).read_info.stale
        side.history.paid(order_id)
        await side.fold()
        assert not (await anext(watched)).read_info.stale
    with pytest.raises(ProjectionLag):
        await anext(side.watch(order_id, **far, on_stale=ON_STALE_FAIL))


async def test_an_unknown_order_is_not_found(side: Side) -> None:
    side.history.created()
    await side.fold()
    with pytest.raises(NotFound):
        await anext(side.watch(str(uuid.uuid4())))


async def test_a_wrong_resume_token_is_refused_by_its_field(side: Side) -> None:
    order_id = side.history.created()
    await side.fold()
    for token in ("nonsense", consistency_token(str(uuid.uuid4()), 1)):
        with pytest.raises(InvalidRequest) as refused:
            await anext(side.watch(order_id, token))
        assert [field for field, _ in refused.value.violations] == ["resume_token"]


async def test_watching_ends_at_once_when_the_server_stops(side: Side) -> None:
    order_id = side.history.created()
    await side.fold()
    watched = side.watch(order_id)
    await anext(watched)
    coming = asyncio.ensure_future(anext(watched))
    await asyncio.sleep(0.02)
    side.stopping.set()
    async with asyncio.timeout(1):
        with pytest.raises(Unavailable) as ended:
            await coming
    assert ended.value.reason == "SERVER_STOPPING"


async def test_many_watchers_all_see_the_last_state_and_nothing_twice(side: Side) -> None:
    dice = random.Random(3)
    order_ids = [side.history.created() for _ in range(20)]
    await side.fold()

    async def follow(order_id: str) -> list[int]:
        versions = []
        async with aclosing(side.watch(order_id)) as watched:
            async for answer in watched:
                versions.append(answer.order.version)
                if answer.order.status == PAID:
                    break
                await asyncio.sleep(dice.random() * 0.05)  # a slow reader
        return versions

    following = [asyncio.create_task(follow(order_id)) for order_id in order_ids for _ in range(3)]
    await asyncio.sleep(0.05)
    for order_id in order_ids:
        side.history.paid(order_id)
        await side.fold(told=dice.random() < 0.5)
    async with asyncio.timeout(20):
        for versions in await asyncio.gather(*following):
            assert versions in ([1, 2], [2])
