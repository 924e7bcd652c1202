"""Answers are kept until their rows change, and given again only while that is known."""

from __future__ import annotations

from typing import Any

import pytest

from shop.orders.v1.query_service_pb2 import GetOrderRequest, ListCustomerOrdersRequest
from tests.unit.cached_side import (
    CONTRACT,
    LOG,
    PLANS,
    TTL,
    CachedSide,
    Clock,
    Pause,
    ReadModel,
    SharedDict,
    info_in,
    order_in,
)
from twofold.v1.reading_pb2 import ReadOptions
from twofold_server.errors import InvalidRequest, NotFound
from twofold_server.messages.tokens import consistency_token
from twofold_server.queries.cache.caching import LARGEST
from twofold_server.queries.cache.entries import request_key
from twofold_server.queries.cache.validity import SILENCE_SECONDS, Validity
from twofold_server.queries.call import QueryCall


@pytest.fixture
def model() -> ReadModel:
    model = ReadModel()
    model.write("tea")
    return model


@pytest.fixture
def side(model: ReadModel) -> CachedSide:
    side = CachedSide(model)
    side.hear(model.notice())
    return side


async def test_an_answer_is_read_once(side: CachedSide, model: ReadModel) -> None:
    first, second = await side.ask("tea"), await side.ask("tea")
    assert order_in(first) == order_in(second)
    assert model.reads == 1
    assert (second.position, second.token, second.stale) == (1, consistency_token(LOG, 1), False)


async def test_a_change_of_its_row_drops_an_answer_and_no_other(side: CachedSide, model: ReadModel) -> None:
    await side.ask("tea")
    side.hear(model.write("cup"))
    await side.ask("cup")
    side.hear(model.write("tea"))
    assert order_in(await side.ask("tea")).version == 2
    reads = model.reads
    assert order_in(await side.ask("cup")).version == 1
    assert model.reads == reads


async def test_before_the_first_notice_nothing_is_kept(model: ReadModel) -> None:
    side = CachedSide(model)
    await side.ask("tea")
    await side.ask("tea")
    assert model.reads == 2


@pytest.mark.parametrize("what", ["too many rows", "a gap"])
async def test_what_may_have_changed_anything_drops_everything(
    side: CachedSide, model: ReadModel, what: str
) -> None:
    await side.ask("tea")
    lost = model.write("tea")
    side.hear(model.told(None) if what == "too many rows" else model.write("cup"))
    assert lost
    assert order_in(await side.ask("tea")).version == 2


async def test_a_lost_notice_is_noticed_when_the_position_is_told_again(
    side: CachedSide, model: ReadModel
) -> None:
    await side.ask("tea")
    model.write("tea")
    assert order_in(await side.ask("tea")).version == 1
    side.hear(model.notice())
    assert order_in(await side.ask("tea")).version == 2


async def test_rows_that_were_mended_at_the_same_position_are_read_anew(
    side: CachedSide, model: ReadModel
) -> None:
    await side.ask("tea")
    side.hear(model.rewrite("tea"))
    assert order_in(await side.ask("tea")).version == 2


async def test_a_store_that_was_put_back_drops_everything(side: CachedSide, model: ReadModel) -> None:
    side.hear(model.write("tea"))
    assert order_in(await side.ask("tea")).version == 2
    model.position, model.versions["tea"] = 1, 1
    side.hear(model.notice())
    assert order_in(await side.ask("tea")).version == 1


async def test_while_notices_may_be_lost_nothing_is_given(side: CachedSide, model: ReadModel) -> None:
    await side.ask("tea")
    side.changes.deafened()
    model.write("tea")
    assert order_in(await side.ask("tea")).version == 2
    side.hear(model.notice())
    assert order_in(await side.ask("tea")).version == 2


async def test_a_projector_that_is_silent_is_not_trusted(side: CachedSide, model: ReadModel) -> None:
    await side.ask("tea")
    side.clock.now += SILENCE_SECONDS
    await side.ask("tea")
    assert model.reads == 2
    side.hear(model.notice())
    await side.ask("tea")
    assert model.reads == 2


async def test_an_answer_is_gone_after_its_time(side: CachedSide, model: ReadModel) -> None:
    await side.ask("tea")
    side.clock.now += TTL
    side.hear(model.notice())
    await side.ask("tea")
    assert model.reads == 2


async def test_no_more_answers_are_kept_than_allowed(model: ReadModel) -> None:
    side = CachedSide(model, entries=2)
    side.hear(model.notice())
    for order_id in ("a", "b", "c", "b", "c", "a"):
        await side.ask(order_id)
    assert model.reads == 4


# --- tokens -----------------------------------------------------------------------------------------


async def test_a_token_is_answered_only_from_its_position_on(side: CachedSide, model: ReadModel) -> None:
    await side.ask("tea")
    side.hear(model.write("cup"))
    assert (await side.ask("tea", token=1)).position == 1
    assert model.reads == 1
    assert (await side.ask("tea", token=2)).position == 2
    assert model.reads == 2
    assert (await side.ask("tea")).position == 2
    assert model.reads == 2


async def test_a_token_of_another_log_is_refused_as_without_a_cache(side: CachedSide) -> None:
    await side.ask("tea")
    request = GetOrderRequest(order_id="tea")
    request.read_options.consistency_token = consistency_token("another", 1)
    contract = CONTRACT.queries[request.DESCRIPTOR.full_name]
    with pytest.raises(InvalidRequest, match="another event log"):
        await side._caching.answer(QueryCall(contract=contract, request=request), _never)


async def test_the_key_of_a_request_is_what_it_asks_and_not_how_fresh() -> None:
    plain = GetOrderRequest(order_id="tea")
    fresh = GetOrderRequest(order_id="tea", read_options=ReadOptions(consistency_token="x"))
    assert request_key(plain) == request_key(fresh) != request_key(GetOrderRequest(order_id="cup"))
    assert fresh.HasField("read_options")


# --- reads that race with writes ----------------------------------------------------------------------


@pytest.mark.parametrize("told", ["row", "all", "mended", "put back"])
async def test_a_read_that_a_change_overtook_is_not_given_again(
    side: CachedSide, model: ReadModel, told: str
) -> None:
    reading = side.ask("tea", pause=Pause())
    reading.send(None)  # it has read, and is held up
    match told:
        case "row":
            side.hear(model.write("tea"))
        case "all":
            model.write("tea")
            side.hear(model.told(None))
        case "mended":
            side.hear(model.rewrite("tea"))
        case _:
            model.position, model.versions["tea"] = 0, 2
            side.hear(model.notice())
    with pytest.raises(StopIteration) as late:
        reading.send(None)
    assert order_in(late.value.value).version == 1
    assert order_in(await side.ask("tea")).version == 2


async def test_a_read_from_a_store_that_lags_behind_the_notices_is_not_given_again(
    side: CachedSide, model: ReadModel
) -> None:
    side.hear(model.rewrite("tea"))
    model.epoch, model.versions["tea"] = 1, 1  # a replica that does not have it yet
    assert order_in(await side.ask("tea")).version == 1
    model.epoch, model.versions["tea"] = 2, 2
    assert order_in(await side.ask("tea")).version == 2


async def test_a_late_read_does_not_replace_a_newer_answer(side: CachedSide, model: ReadModel) -> None:
    reading = side.ask("tea", pause=Pause())
    reading.send(None)
    side.hear(model.write("cup"))
    assert (await side.ask("tea", token=2)).position == 2
    with pytest.raises(StopIteration):
        reading.send(None)
    assert (await side.ask("tea", token=2)).position == 2
    assert model.reads == 2


# --- what is not kept -------------------------------------------------------------------------------


async def test_errors_are_not_kept(side: CachedSide) -> None:
    asked: list[QueryCall] = []

    async def missing(call: QueryCall) -> Any:
        asked.append(call)
        raise NotFound("no order", reason="ORDER_NOT_FOUND")

    request = GetOrderRequest(order_id="none")
    call = QueryCall(contract=CONTRACT.queries[request.DESCRIPTOR.full_name], request=request)
    for _ in range(2):
        with pytest.raises(NotFound):
            await side._caching.answer(call, missing)
    assert len(asked) == 2


async def test_large_answers_are_not_kept(side: CachedSide, model: ReadModel) -> None:
    for _ in range(2):
        await side.ask("x" * LARGEST)
    assert model.reads == 2


async def test_rows_of_another_version_of_the_read_model_are_not_kept(
    side: CachedSide, model: ReadModel
) -> None:
    model.version = 2
    side.hear(model.notice())
    await side.ask("tea")
    await side.ask("tea")
    assert model.reads == 2


# --- how fresh it says it is --------------------------------------------------------------------------


async def test_a_kept_answer_says_how_old_it_is(side: CachedSide, model: ReadModel) -> None:
    await side.ask("tea")
    known = side.positions["orders"]
    known.log_id = LOG
    side.clock.now += 2
    known.heard(LOG, 4, 5)
    info = info_in(await side.ask("tea"))
    assert (info.position, info.lag_positions, info.lag.seconds) == (1, 4, 2)
    assert info.consistency_token == consistency_token(LOG, 1)
    assert model.reads == 1


async def test_hits_and_misses_are_counted(side: CachedSide) -> None:
    for order_id in ("tea", "tea", "tea", "cup"):
        await side.ask(order_id)
    assert side.metrics.take() == {"hits": 2, "shared_hits": 0, "misses": 2, "hit_rate": 0.5}
    assert side.metrics.take() == {}


# --- the shared level ---------------------------------------------------------------------------------


async def test_one_server_reads_and_the_others_find_it(model: ReadModel) -> None:
    shared, clock = SharedDict(), Clock()
    sides = [CachedSide(model, shared=shared, clock=clock) for _ in range(3)]
    for side in sides:
        side.hear(model.notice())
        assert order_in(await side.ask("tea")).version == 1
    assert model.reads == 1
    assert sides[2].metrics.take()["shared_hits"] == 1


async def test_what_a_server_has_not_heard_of_it_does_not_take_from_others(model: ReadModel) -> None:
    shared, clock = SharedDict(), Clock()
    old, fresh = (CachedSide(model, shared=shared, clock=clock) for _ in range(2))
    old.hear(model.notice())
    await old.ask("tea")
    model.write("tea")
    fresh.hear(model.notice())  # it begins here, and knows nothing of what was before
    assert order_in(await fresh.ask("tea")).version == 2


async def test_a_read_of_another_time_is_not_shared(model: ReadModel) -> None:
    shared = SharedDict()
    side = CachedSide(model, shared=shared)
    side.hear(model.notice())
    reading = side.ask("tea", pause=Pause())
    reading.send(None)
    model.position = 0
    side.hear(model.notice())
    with pytest.raises(StopIteration):
        reading.send(None)
    assert shared.entries == {}


async def test_a_shared_answer_that_is_too_old_for_a_token_is_not_given(model: ReadModel) -> None:
    shared, clock = SharedDict(), Clock()
    first, second = (CachedSide(model, shared=shared, clock=clock) for _ in range(2))
    first.hear(model.notice())
    second.hear(model.notice())
    await first.ask("tea")
    model.write("cup")
    assert (await second.ask("tea", token=2)).position == 2


def test_another_contract_or_request_type_has_another_name() -> None:
    plans = list(PLANS.values())
    assert len({plan.contract for plan in plans}) == len(plans)
    assert set(PLANS) == {GetOrderRequest, ListCustomerOrdersRequest}


# --- what is known ----------------------------------------------------------------------------------


def test_rows_that_changed_long_ago_are_forgotten_safely(side: CachedSide) -> None:
    generation = side.changes["orders"].generation
    assert generation is not None
    known = Validity(clock=Clock(), most=2)
    known.heard(generation, 0, after=0, rows=[])
    for position, row in enumerate([b"a", b"b", b"c"], start=1):
        known.heard(generation, position, after=position - 1, rows=[row])
    assert not known.holds(0, b"other")  # a is forgotten: whatever is older may be outdated
    assert known.holds(1, b"other")
    assert not known.holds(2, b"c")
    assert known.holds(3, b"c")


def test_notices_of_an_older_projector_drop_everything(model: ReadModel, side: CachedSide) -> None:
    before = side.changes["orders"].era
    side.hear(b'{"log_id": "%s", "position": 1}' % LOG.encode())
    assert side.changes["orders"].era == before + 1


async def _never(call: QueryCall) -> Any:
    raise AssertionError("it must not be read")
