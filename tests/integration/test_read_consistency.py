"""Queries answer as freshly as they were asked to, and say how fresh they are."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shop.orders.v1.query_service_pb2 import (
    GetOrderRequest,
    GetOrderResponse,
    ListCustomerOrdersRequest,
    ListCustomerOrdersResponse,
)
from shop_contexts import orders
from shop_contexts.orders.projections import orders_projection
from tests.order_histories import History, folded, order_codec
from twofold.v1.reading_pb2 import ON_STALE_FAIL, ReadOptions
from twofold_server.database import Database, open_database
from twofold_server.errors import InvalidRequest, NotFound, ProjectionLag, Unavailable
from twofold_server.messages.contract import read_contract
from twofold_server.messages.tokens import consistency_token
from twofold_server.projections.checkpoints import read_checkpoint
from twofold_server.projections.fold import Fold
from twofold_server.projections.schema import is_prepared, prepare
from twofold_server.queries import positions
from twofold_server.queries.answers import Answers
from twofold_server.queries.bus import QueryBus, find_queries
from twofold_server.queries.call import QueryCall
from twofold_server.queries.positions import Positions
from twofold_server.queries.read_store import ReadStore
from twofold_server.queries.snapshot_reads import SnapshotReads

LOG = str(uuid.uuid4())
CONTRACT = read_contract("shop.orders.v1")


class ReadSide:
    """A read store that a test fills, and a query server without its gRPC edge."""

    def __init__(self, path: Path, database: Database, store: ReadStore) -> None:
        self.path = path
        self.history = History()
        self.store = store
        self.positions = Positions(store=store, read_checkpoint=read_checkpoint)
        reads = SnapshotReads(store=store, positions=self.positions, read_checkpoint=read_checkpoint)
        answers = Answers(reads, find_queries([(orders.context, CONTRACT)]))
        self._bus = QueryBus(answers.answer)
        self._fold = Fold(database=database, projection=orders_projection, codec=order_codec())

    @property
    def token(self) -> str:
        """The token of the last command."""
        return consistency_token(LOG, self.history.head)

    async def fold(self, upto: int | None = None, *, told: bool = False) -> None:
        """The projector applies events, and tells of it or not."""
        if not self._fold.is_mine:
            await self._fold.take_over(LOG)
        await self._fold.apply(self.history.events[:upto], head=self.history.head)
        if told:
            mine = self._fold.checkpoint
            self.positions["orders"].heard(mine.log_id, mine.position, mine.head)

    async def get(
        self, order_id: str, *, metadata_token: str = "", time_remaining: float | None = None, **options: Any
    ) -> GetOrderResponse:
        """Ask for one order."""
        request = GetOrderRequest(order_id=order_id, read_options=ReadOptions(**options))
        response = await self._ask(request, token=metadata_token, time_remaining=time_remaining)
        assert isinstance(response, GetOrderResponse)
        return response

    async def list(self, customer_id: str, **options: Any) -> ListCustomerOrdersResponse:
        """Ask for a customer's orders."""
        request = ListCustomerOrdersRequest(customer_id=customer_id, read_options=ReadOptions(**options))
        response = await self._ask(request)
        assert isinstance(response, ListCustomerOrdersResponse)
        return response

    async def _ask(self, request: Any, **more: Any) -> Any:
        contract = CONTRACT.queries[request.DESCRIPTOR.full_name]
        answer = await self._bus.ask(QueryCall(contract=contract, request=request, **more))
        response: Any = contract.response.FromString(answer.content)
        told = response.read_info
        assert (answer.position, answer.token) == (told.position, told.consistency_token)
        assert answer.stale == told.stale
        return response


def read_store(path: Path) -> ReadStore:
    return ReadStore(url=f"sqlite+aiosqlite:///{path}", is_prepared=is_prepared)


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[ReadSide]:
    path = tmp_path / "read.db"
    async with open_database(f"sqlite+aiosqlite:///{path}", synchronous="NORMAL") as database:
        await database.write(lambda c: prepare(c, [orders_projection]))
        async with read_store(path) as store:
            side = ReadSide(path, database, store)
            yield side
            await side.positions.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@dataclass
class Clock:
    """How long something took, in seconds."""

    seconds: float = 0.0

    def __enter__(self) -> Clock:
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started


# --- how fresh an answer is -----------------------------------------------------------------------


async def test_an_answer_says_up_to_where_it_knows(side: ReadSide) -> None:
    order_id = side.history.created()
    await side.fold()
    found = await side.get(order_id)
    assert found.order == folded(side.history.events)[order_id]
    info = found.read_info
    assert (info.position, info.stale, info.lag_positions) == (1, False, 0)
    assert info.lag.ToNanoseconds() == 0
    assert info.consistency_token == consistency_token(LOG, 1)


async def test_every_query_says_how_fresh_it_is(side: ReadSide) -> None:
    side.history.created()
    await side.fold()
    assert (await side.list("ada")).read_info.position == 1


async def test_the_lag_is_told_in_positions_and_time(side: ReadSide) -> None:
    order_id = side.history.created(recorded_at=(time.time_ns() - 3_000_000_000) // 1000)
    for _ in range(4):
        side.history.created()
    await side.fold(1)
    await side.get(order_id)
    await asyncio.sleep(0.05)
    info = (await side.get(order_id)).read_info
    assert info.lag_positions == 4
    # The log was heard to be ahead just now, although the last event was applied three seconds ago.
    assert 0.05 <= info.lag.ToNanoseconds() / 1e9 < 2


async def test_the_head_of_the_log_is_heard_of(side: ReadSide) -> None:
    order_id = side.history.created()
    await side.fold()
    await side.get(order_id)
    side.positions.heard_head(LOG, 9)
    assert (await side.get(order_id)).read_info.lag_positions == 8
    side.positions.heard_head("another log", 99)
    assert (await side.get(order_id)).read_info.lag_positions == 8


# --- reading one's own writes ---------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False], ids=["notice", "lost notice"])
async def test_a_query_waits_for_its_token(
    side: ReadSide, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if told:
        monkeypatch.setattr(positions, "LOOK_SECONDS", 60)
    side.history.created()
    await side.fold()
    order_id = side.history.created()
    asking = asyncio.create_task(side.get(order_id, consistency_token=side.token))
    await asyncio.sleep(0.02)
    assert not asking.done()
    await side.fold(told=told)
    found = await asking
    assert found.order.order_id == order_id
    assert (found.read_info.position, found.read_info.stale) == (2, False)


async def test_a_token_counts_wherever_it_is_and_the_greater_wins(side: ReadSide) -> None:
    side.history.created()
    await side.fold()
    old = side.token
    order_id = side.history.created()
    several: list[dict[str, Any]] = [
        {"metadata_token": side.token},
        {"consistency_token": old, "metadata_token": side.token},
        {"consistency_token": side.token, "metadata_token": old},
    ]
    for tokens in several:
        with pytest.raises(ProjectionLag):
            await side.get(order_id, max_wait={"nanos": 1}, on_stale=ON_STALE_FAIL, **tokens)


async def test_many_wait_for_many_positions(side: ReadSide) -> None:
    ids = [side.history.created() for _ in range(50)]
    await side.fold(1)
    asking = [
        asyncio.create_task(side.get(order_id, consistency_token=consistency_token(LOG, n)))
        for n, order_id in enumerate(ids, start=1)
    ]
    for position in range(2, 51):
        await asyncio.sleep(0)
        await side.fold(position, told=True)
    found = await asyncio.gather(*asking)
    assert all(f.read_info.position >= n for n, f in enumerate(found, start=1))
    assert [f.order.order_id for f in found] == ids


async def test_a_token_that_was_reached_costs_no_wait(side: ReadSide) -> None:
    order_id = side.history.created()
    await side.fold()
    found = await side.get(order_id, consistency_token=side.token, max_wait={"nanos": 0})
    assert not found.read_info.stale


# --- when the wait is in vain ---------------------------------------------------------------------


async def test_a_stale_answer_says_so(side: ReadSide) -> None:
    order_id = side.history.created()
    await side.fold()
    side.history.paid(order_id)
    with Clock() as clock:
        found = await side.get(order_id, consistency_token=side.token, max_wait={"nanos": 60_000_000})
    assert 0.06 <= clock.seconds < 1
    assert (found.read_info.position, found.read_info.stale) == (1, True)
    assert found.order.version == 1


async def test_who_wants_no_stale_answer_is_told_what_is_missing(side: ReadSide) -> None:
    order_id = side.history.created()
    await side.fold()
    side.history.paid(order_id)
    with pytest.raises(ProjectionLag) as told:
        await side.get(order_id, consistency_token=side.token, max_wait={"nanos": 1}, on_stale=ON_STALE_FAIL)
    assert told.value.metadata == {"projection": "orders", "want": "2", "have": "1"}


async def test_an_order_that_is_not_there_yet_is_not_found_with_a_warning(side: ReadSide) -> None:
    side.history.created()
    await side.fold()
    order_id = side.history.created()
    with pytest.raises(NotFound) as told:
        await side.get(order_id, consistency_token=side.token, max_wait={"nanos": 1})
    assert told.value.metadata == {"order_id": order_id, "stale": "true", "want": "2", "have": "1"}


async def test_the_deadline_of_the_call_cuts_the_wait_short(side: ReadSide) -> None:
    order_id = side.history.created()
    await side.fold()
    side.history.paid(order_id)
    with Clock() as clock:
        found = await side.get(order_id, consistency_token=side.token, time_remaining=0.2)
    assert found.read_info.stale
    assert clock.seconds < 0.2


async def test_a_bad_token_is_refused(side: ReadSide) -> None:
    order_id = side.history.created()
    await side.fold()
    with pytest.raises(InvalidRequest, match="is not a consistency token"):
        await side.get(order_id, consistency_token="nonsense")
    with pytest.raises(InvalidRequest, match="another event log"):
        await side.get(order_id, consistency_token=consistency_token(str(uuid.uuid4()), 1))


async def test_a_projection_that_has_not_begun_is_unavailable(side: ReadSide) -> None:
    several: list[dict[str, Any]] = [{}, {"consistency_token": side.token}]
    for options in several:
        with pytest.raises(Unavailable, match="projection orders has not begun yet"):
            await side.get(str(uuid.uuid4()), **options)


# --- the read store comes and goes ----------------------------------------------------------------


async def test_a_store_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "read.db"
    async with read_store(path) as store:
        assert "cannot be opened" in store.trouble
        with pytest.raises(Unavailable):
            await store.read(is_prepared)
        async with open_database(f"sqlite+aiosqlite:///{path}") as database:
            await until(lambda: "no projector has made the tables" in store.trouble)
            await database.write(lambda c: prepare(c, [orders_projection]))
            await until(lambda: store.trouble == "")
            assert await store.read(is_prepared)


async def test_a_store_that_was_replaced_is_opened_again(side: ReadSide, tmp_path: Path) -> None:
    first = side.history.created()
    await side.fold(told=True)
    await side.get(first)
    backup = tmp_path / "backup.db"
    with contextlib.closing(sqlite3.connect(side.path)) as connection:
        connection.execute(f"VACUUM INTO '{backup}'")
    second = side.history.created()
    await side.fold(told=True)
    assert (await side.get(second, consistency_token=side.token)).read_info.position == 2
    for suffix in ("-wal", "-shm"):
        side.path.with_name(side.path.name + suffix).unlink(missing_ok=True)
    shutil.move(backup, side.path)
    async with asyncio.timeout(10):
        while (await side.get(first)).read_info.position == 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    # It has been further than it is now: what was heard before does not count any more.
    found = await side.get(first, consistency_token=side.token, max_wait={"nanos": 50_000_000})
    assert (found.read_info.position, found.read_info.stale) == (1, True)
