"""What every event store does, whatever it stands on."""

from __future__ import annotations

import dataclasses
import itertools
import time

import pytest

from tests.appends import ORDER_CREATED, append, new_append, new_event, new_id, recorded
from twofold_server.event_store.appending import Appended, Basis, Conflict, Replay, StoredResponse
from twofold_server.event_store.events import NewEvent, RecordedEvent
from twofold_server.event_store.expected_version import Any, Exactly, ExpectedVersion, NoStream
from twofold_server.event_store.filters import PARTITIONS, EventFilter, partition_of
from twofold_server.event_store.store import EventStore
from twofold_server.modelling import EventMetadata


def positions(events: list[RecordedEvent]) -> list[int]:
    return [event.position for event in events]


def versions(events: list[RecordedEvent]) -> list[int]:
    return [event.stream_version for event in events]


async def whole_log(store: EventStore) -> list[RecordedEvent]:
    return await store.read_events(0, limit=100_000)


# --- an empty log --------------------------------------------------------------------------------


async def test_an_empty_log_ends_at_position_zero(store: EventStore) -> None:
    assert await store.head() == 0
    assert await store.read_events(0) == []


async def test_a_stream_without_events_has_version_zero(store: EventStore) -> None:
    assert await store.stream_version("order-1") == 0
    assert await store.read_stream("order-1") == []


async def test_appending_nothing_writes_nothing(store: EventStore) -> None:
    assert await store.append([]) == []
    assert await store.head() == 0


# --- what is written can be read -----------------------------------------------------------------


async def test_an_event_comes_back_as_it_was_written(store: EventStore) -> None:
    where_from = EventMetadata("correlation", "causation", "Zoë", "00-trace-01")
    event = new_event("shop.orders.v1.OrderPaid", data=b"paid", revision=3, metadata=where_from)
    before = time.time_ns() // 1000
    written = await append(store, "order-1", events=[event])
    after = time.time_ns() // 1000
    [read] = await store.read_stream("order-1")
    assert [read] == list(written)
    assert before <= read.recorded_at <= after
    assert read == RecordedEvent(
        position=1,
        stream_name="order-1",
        stream_version=1,
        event_id=event.event_id,
        type_name="shop.orders.v1.OrderPaid",
        revision=3,
        data=b"paid",
        metadata=where_from,
        recorded_at=read.recorded_at,
    )


@pytest.mark.parametrize(
    "data", [b"", b"\x00", bytes(range(256)), b"\xff\xfe" * 1000, b"x" * 2_000_000], ids=len
)
async def test_any_bytes_survive(store: EventStore, data: bytes) -> None:
    await append(store, events=[new_event(data=data)])
    [read] = await store.read_events(0)
    assert read.data == data
    assert isinstance(read.data, bytes)


async def test_stream_names_are_kept_apart_to_the_letter(store: EventStore) -> None:
    for name in ("order-a", "order-A", "order-ä", "order-a ", "order-%", "order-_"):
        await append(store, name)
        assert versions(await store.read_stream(name)) == [1]


# --- positions and versions ----------------------------------------------------------------------


async def test_positions_are_gapless_in_the_order_of_appends(store: EventStore) -> None:
    outcomes = await store.append([new_append(f"order-{n % 3}", events=n % 4) for n in range(20)])
    assert positions([e for o in outcomes for e in recorded(o)]) == list(range(1, 31))
    assert positions(await whole_log(store)) == list(range(1, 31))
    assert await store.head() == 30


async def test_versions_are_gapless_in_each_stream(store: EventStore) -> None:
    for _ in range(3):
        await store.append([new_append(f"order-{n % 3}", events=2) for n in range(6)])
    for n in range(3):
        assert versions(await store.read_stream(f"order-{n}")) == list(range(1, 13))
        assert await store.stream_version(f"order-{n}") == 12


async def test_a_refused_append_leaves_no_gap(store: EventStore) -> None:
    await append(store)
    await store.append([new_append(expected=NoStream())])
    await append(store)
    assert positions(await whole_log(store)) == [1, 2]
    assert versions(await whole_log(store)) == [1, 2]


# --- expected versions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "expected"),
    [(0, Any()), (0, NoStream()), (2, Any()), (2, Exactly(2))],
)
async def test_an_append_whose_expectation_holds_is_written(
    store: EventStore, actual: int, expected: ExpectedVersion
) -> None:
    await append(store, events=actual)
    [written] = await append(store, expected=expected)
    assert written.stream_version == actual + 1


@pytest.mark.parametrize(
    ("actual", "expected"),
    [(0, Exactly(1)), (2, NoStream()), (2, Exactly(1)), (2, Exactly(3))],
)
async def test_an_append_whose_expectation_fails_is_told_the_version(
    store: EventStore, actual: int, expected: ExpectedVersion
) -> None:
    await append(store, events=actual)
    assert await store.append([new_append(expected=expected)]) == [Conflict(actual)]
    assert await store.head() == actual


# --- batches -------------------------------------------------------------------------------------


async def test_appends_of_a_batch_see_those_before_them(store: EventStore) -> None:
    first, second, third = await store.append(
        [
            new_append(expected=NoStream(), events=2),
            new_append(expected=Exactly(2)),
            new_append(expected=Exactly(3)),
        ]
    )
    assert [e.stream_version for o in (first, second, third) for e in recorded(o)] == [1, 2, 3, 4]


async def test_a_conflict_in_the_middle_of_a_batch_leaves_the_others(store: EventStore) -> None:
    await append(store, "order-2")
    before, conflicting, after = await store.append(
        [
            new_append("order-1", expected=NoStream()),
            new_append("order-2", expected=NoStream()),
            new_append("order-3", expected=NoStream()),
        ]
    )
    assert conflicting == Conflict(1)
    assert [e.position for o in (before, after) for e in recorded(o)] == [2, 3]
    assert [e.stream_name for e in await whole_log(store)] == ["order-2", "order-1", "order-3"]


async def test_an_append_is_written_whole_or_not_at_all(store: EventStore) -> None:
    await append(store)
    [outcome] = await store.append([new_append(events=3, expected=NoStream(), request_id=new_id())])
    assert outcome == Conflict(1)
    assert await store.head() == 1


async def test_decisions_on_a_broken_basis_conflict_although_the_version_would_fit(store: EventStore) -> None:
    await append(store)  # another writer's
    basis = Basis()
    outcomes = await store.append(
        [
            new_append(expected=NoStream(), basis=basis),
            new_append(expected=Exactly(1), basis=basis),
            new_append(expected=Exactly(1)),
        ]
    )
    assert outcomes[:2] == [Conflict(1), Conflict(1)]
    assert basis.broken
    assert isinstance(outcomes[2], Appended)


async def test_a_basis_that_broke_earlier_is_broken_for_later_batches(store: EventStore) -> None:
    await append(store)
    basis = Basis(broken=True)
    assert await store.append([new_append(expected=Exactly(1), basis=basis)]) == [Conflict(1)]
    assert await store.head() == 1


# --- request ids ---------------------------------------------------------------------------------


async def test_the_response_knows_the_position_of_the_last_event(store: EventStore) -> None:
    await append(store, "order-9", events=5)
    [outcome] = await store.append([new_append(events=3)])
    assert isinstance(outcome, Appended)
    assert outcome.response == b"stored at 8"


async def test_a_request_id_is_answered_again_in_a_later_batch(store: EventStore) -> None:
    request = new_id()
    await store.append([new_append(request_id=request, request_hash=b"hash")])
    [again] = await store.append([new_append(request_id=request, request_hash=b"other")])
    assert again == Replay(StoredResponse(b"hash", b"stored at 1"))
    assert await store.head() == 1


async def test_a_request_id_is_answered_again_within_a_batch(store: EventStore) -> None:
    request = new_id()
    first, again = await store.append([new_append(request_id=request, request_hash=b"h") for _ in range(2)])
    assert isinstance(first, Appended)
    assert again == Replay(StoredResponse(b"h", b"stored at 1"))
    assert await store.head() == 1


async def test_a_replay_is_a_replay_whatever_version_was_expected(store: EventStore) -> None:
    request = new_id()
    await store.append([new_append(request_id=request, expected=NoStream())])
    [again] = await store.append([new_append(request_id=request, expected=NoStream())])
    assert isinstance(again, Replay)


async def test_what_was_decided_after_a_replayed_command_is_void(store: EventStore) -> None:
    request, basis = new_id(), Basis()
    await store.append([new_append(request_id=request)])
    replayed, after = await store.append(
        [
            new_append(request_id=request, expected=Exactly(1), basis=basis),
            new_append(expected=Exactly(2), basis=basis),
        ]
    )
    assert isinstance(replayed, Replay)
    assert after == Conflict(1)


async def test_a_conflict_does_not_use_up_the_request_id(store: EventStore) -> None:
    request = new_id()
    await append(store)
    await store.append([new_append(request_id=request, expected=NoStream())])
    assert await store.find_response(request) is None
    [outcome] = await store.append([new_append(request_id=request, expected=Exactly(1))])
    assert isinstance(outcome, Appended)


async def test_appends_without_a_request_id_store_no_response(store: EventStore) -> None:
    first, second = await store.append([new_append(), new_append()])
    assert isinstance(first, Appended)
    assert isinstance(second, Appended)
    assert await store.find_response("") is None


async def test_an_append_without_events_stores_only_its_response(store: EventStore) -> None:
    request = new_id()
    await append(store, events=2)
    [outcome] = await store.append([new_append(events=0, expected=Exactly(2), request_id=request)])
    assert outcome == Appended([], b"stored at 2")
    assert await store.find_response(request) == StoredResponse(b"", b"stored at 2")
    assert await store.head() == 2
    assert await store.stream_version("order-1") == 2


async def test_an_append_without_events_conflicts_like_any_other(store: EventStore) -> None:
    request = new_id()
    outcomes = await store.append([new_append(events=0, expected=Exactly(1), request_id=request)])
    assert outcomes == [Conflict(0)]
    assert await store.find_response(request) is None


async def test_a_response_is_found_by_its_request_id(store: EventStore) -> None:
    request, response = new_id(), bytes(range(256))
    await store.append([new_append(request_id=request, request_hash=b"\0h", respond=lambda _: response)])
    assert await store.find_response(request) == StoredResponse(b"\0h", response)
    assert await store.find_response(new_id()) is None


# --- pruning -------------------------------------------------------------------------------------

FAR_AHEAD = 2**62


async def test_pruned_responses_are_gone_and_their_request_ids_free(store: EventStore) -> None:
    request = new_id()
    await store.append([new_append(request_id=request)])
    assert await store.prune_responses(FAR_AHEAD) == 1
    assert await store.find_response(request) is None
    [outcome] = await store.append([new_append(request_id=request)])
    assert isinstance(outcome, Appended)


async def test_responses_that_are_not_old_enough_stay(store: EventStore) -> None:
    before = time.time_ns() // 1000
    request = new_id()
    await store.append([new_append(request_id=request)])
    assert await store.prune_responses(before) == 0
    assert await store.find_response(request) is not None


async def test_pruning_takes_the_oldest_first_up_to_its_limit(store: EventStore) -> None:
    requests = [new_id() for _ in range(5)]
    for request in requests:
        [outcome] = await store.append([new_append(request_id=request)])
        [written] = recorded(outcome)
        while time.time_ns() // 1000 <= written.recorded_at:
            pass  # the clock has not moved on by a microsecond
    assert await store.prune_responses(FAR_AHEAD, limit=3) == 3
    left = [await store.find_response(request) is not None for request in requests]
    assert left == [False, False, False, True, True]
    assert await store.prune_responses(FAR_AHEAD, limit=3) == 2


async def test_pruning_leaves_events_alone(store: EventStore) -> None:
    await store.append([new_append(request_id=new_id())])
    await store.prune_responses(FAR_AHEAD)
    assert positions(await whole_log(store)) == [1]


# --- reading ranges ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_version", "to_version", "limit", "found"),
    [
        (1, None, 1000, range(1, 11)),
        (4, None, 1000, range(4, 11)),
        (1, 3, 1000, range(1, 4)),
        (4, 6, 1000, range(4, 7)),
        (5, 5, 1000, [5]),
        (6, 5, 1000, []),
        (1, 0, 1000, []),
        (1, None, 4, range(1, 5)),
        (3, 9, 2, [3, 4]),
        (11, None, 1000, []),
        (8, 100, 1000, [8, 9, 10]),
    ],
)
async def test_a_stream_is_read_between_two_versions(
    store: EventStore, from_version: int, to_version: int | None, limit: int, found: list[int]
) -> None:
    await store.append([new_append(f"order-{n % 2}") for n in range(20)])
    read = await store.read_stream("order-1", from_version=from_version, to_version=to_version, limit=limit)
    assert versions(read) == list(found)
    assert {e.stream_name for e in read} <= {"order-1"}


@pytest.mark.parametrize(
    ("after", "to_position", "limit", "found"),
    [
        (0, None, 1000, range(1, 11)),
        (4, None, 1000, range(5, 11)),
        (0, 3, 1000, range(1, 4)),
        (4, 6, 1000, [5, 6]),
        (5, 5, 1000, []),
        (7, 5, 1000, []),
        (0, None, 4, range(1, 5)),
        (3, 9, 2, [4, 5]),
        (10, None, 1000, []),
        (99, None, 1000, []),
        (8, 100, 1000, [9, 10]),
    ],
)
async def test_the_log_is_read_between_two_positions(
    store: EventStore, after: int, to_position: int | None, limit: int, found: list[int]
) -> None:
    await store.append([new_append(f"order-{n % 3}") for n in range(10)])
    read = await store.read_events(after, to_position=to_position, limit=limit)
    assert positions(read) == list(found)


async def test_pages_of_the_log_fit_together(store: EventStore) -> None:
    await store.append([new_append(f"order-{n % 3}", events=[event()]) for n in range(50)])
    read: list[RecordedEvent] = []
    while page := await store.read_events(read[-1].position if read else 0, limit=7):
        read += page
    assert read == await whole_log(store)


_numbers = itertools.count()


def event() -> NewEvent:
    return new_event(data=b"%d" % next(_numbers))


# --- searching -----------------------------------------------------------------------------------

PAID = "shop.orders.v1.OrderPaid"
BILLED = "acme.billing.v1.InvoiceSent"
DEEPER = "shop.orders.v1.archive.OrderPaid"
"""Of another package, whose name begins like that of the orders."""


async def a_mixed_log(store: EventStore) -> list[RecordedEvent]:
    written = [
        ("order-1", ORDER_CREATED),
        ("invoice-1", BILLED),
        ("order-1", PAID),
        ("order-2", ORDER_CREATED),
        ("orders-1", DEEPER),
        ("ORDER-1", ORDER_CREATED),
        ("order_-1", ORDER_CREATED),
        ("invoice-2", BILLED),
        ("order-2", PAID),
    ]
    await store.append([new_append(stream, events=[new_event(kind)]) for stream, kind in written])
    return await whole_log(store)


FILTERS = [
    EventFilter(),
    EventFilter(packages=frozenset({"shop.orders.v1"})),
    EventFilter(packages=frozenset({"shop.orders.v1", "acme.billing.v1"})),
    EventFilter(packages=frozenset({"shop.orders"})),
    EventFilter(packages=frozenset({"shop.orders.v_"})),
    EventFilter(categories=frozenset({"order"})),
    EventFilter(categories=frozenset({"order", "invoice"})),
    EventFilter(categories=frozenset({"ord", "order-", "order-1", "orde_", "%", ""})),
    EventFilter(type_names=frozenset({PAID})),
    EventFilter(type_names=frozenset({PAID, BILLED})),
    EventFilter(type_names=frozenset({PAID.lower(), "OrderPaid"})),
    EventFilter(stream_names=frozenset({"order-1"})),
    EventFilter(stream_names=frozenset({"order-2", "invoice-1", "nothing-1"})),
    EventFilter(partitions=frozenset({partition_of("order-1")})),
    EventFilter(partitions=frozenset(range(PARTITIONS))),
    EventFilter(partitions=frozenset({PARTITIONS, -1})),
    EventFilter(categories=frozenset({"order"}), type_names=frozenset({PAID})),
    EventFilter(packages=frozenset({"shop.orders.v1"}), stream_names=frozenset({"order-2", "invoice-1"})),
    EventFilter(packages=frozenset({"acme.billing.v1"}), categories=frozenset({"order"})),
    EventFilter(partitions=frozenset({partition_of("order-1")}), type_names=frozenset({PAID, BILLED})),
    EventFilter(
        packages=frozenset({"shop.orders.v1"}),
        categories=frozenset({"order"}),
        type_names=frozenset({PAID, ORDER_CREATED}),
        stream_names=frozenset({"order-1", "order-2"}),
        partitions=frozenset({partition_of("order-2")}),
    ),
    EventFilter(packages=frozenset({"acme.billing.v1"}), moved_types=frozenset({PAID, DEEPER})),
    EventFilter(packages=frozenset({"nothing.v1"}), moved_types=frozenset({PAID.lower()})),
]


def in_words(wanted: EventFilter) -> str:
    sets = {name: getattr(wanted, name) for name in wanted.__slots__}
    return " ".join(f"{name}:{','.join(map(str, sorted(of)))}" for name, of in sets.items() if of) or "all"


@pytest.mark.parametrize("wanted", FILTERS, ids=in_words)
async def test_a_search_finds_what_its_filter_matches(store: EventStore, wanted: EventFilter) -> None:
    events = await a_mixed_log(store)
    found = await store.search_events(0, wanted, to_position=100)
    assert found == [event for event in events if wanted.matches(event)]


@pytest.mark.parametrize("wanted", [FILTERS[1], FILTERS[14]], ids=in_words)
@pytest.mark.parametrize(
    ("after", "to_position", "limit", "found"),
    [
        (0, 9, 1000, [1, 3, 4, 6, 7, 9]),
        (3, 7, 1000, [4, 6, 7]),
        (0, 9, 2, [1, 3]),
        (4, 9, 1, [6]),
        (9, 9, 1000, []),
        (4, 5, 1000, []),
    ],
)
async def test_a_search_keeps_to_its_range_and_limit(
    store: EventStore, wanted: EventFilter, after: int, to_position: int, limit: int, found: list[int]
) -> None:
    await a_mixed_log(store)
    both = dataclasses.replace(wanted, packages=frozenset({"shop.orders.v1"}))
    read = await store.search_events(after, both, to_position=to_position, limit=limit)
    assert positions(read) == found


async def test_partitions_that_do_not_exist_are_no_trouble(store: EventStore) -> None:
    await store.append([new_append(f"order-{n}") for n in range(3)])
    wanted = EventFilter(partitions=frozenset(range(5 * PARTITIONS)))
    assert positions(await store.search_events(0, wanted, to_position=3, limit=1)) == [1]


async def test_a_search_through_a_long_log_leaves_no_trace_on_later_reads(store: EventStore) -> None:
    await store.append([new_append(f"order-{n}") for n in range(2500)])
    partition = EventFilter(partitions=frozenset({3}))
    found = await store.search_events(0, partition, to_position=2500, limit=10_000)
    assert len(found) == len([n for n in range(2500) if partition_of(f"order-{n}") == 3])
    assert len(await whole_log(store)) == 2500
    assert await store.head() == 2500
