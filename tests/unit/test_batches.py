"""BatchExecute: many commands in one call, each with the outcome of its own RPC."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from shop.orders.v1.command_service_pb2 import CreateOrderRequest
from shop_contexts.orders.decider import order
from tests.unit.batch_side import REQUESTS, Batches, Call, asked, info, pack, receipt, refused
from tests.unit.command_side import CommandSide, command_side
from tests.unit.deciders import Scenario
from tests.unit.order_messages import (
    ORDER,
    add,
    added,
    cancel,
    complete,
    create,
    created,
    item,
    pay,
    remove,
    ship,
)
from tests.unit.stores import AWAY, ControlledStore
from tests.unit.valid_orders import changes_of_orders, creations
from twofold_server.commands.bus import Next
from twofold_server.commands.call import CommandCall, CommandResult
from twofold_server.errors import InvalidRequest, TooLarge, TwofoldError
from twofold_server.event_store.appending import Append, AppendOutcome
from twofold_server.event_store.snapshots import LoadedStream
from twofold_server.messages.tokens import METADATA_KEY, token_position
from twofold_server.rpc.command_services import command_call
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.status import status_of

OTHER = "01932f0a-1111-7000-8000-000000000002"
DOMAIN = "shop.orders.v1"


@pytest.fixture
def batches(server: CommandSide) -> Batches:
    """The batch service of the server."""
    return Batches(server)


def new_id() -> str:
    return str(uuid.uuid4())


def new_orders(count: int) -> list[CreateOrderRequest]:
    return [create(order_id=new_id()) for _ in range(count)]


# --- outcomes ------------------------------------------------------------------------------------


async def test_each_command_has_its_outcome_in_the_order_of_the_batch(batches: Batches) -> None:
    outcomes = await batches.send(create(), pay(order_id=OTHER), add("milk"), ship(), create(order_id=""))
    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == [
        "receipt",
        "error",
        "receipt",
        "error",
        "receipt",
    ]
    assert [(o.receipt.aggregate_id, o.receipt.version) for o in outcomes[:3:2]] == [(ORDER, 1), (ORDER, 2)]
    assert refused(outcomes[1]) == ("NOT_FOUND", "ORDER_NOT_FOUND", DOMAIN)
    assert refused(outcomes[3]) == ("FAILED_PRECONDITION", "ORDER_NOT_PAID", DOMAIN)
    assert outcomes[4].receipt.aggregate_id not in ("", ORDER)


async def test_a_receipt_is_the_one_of_its_own_rpc(batches: Batches, server: CommandSide) -> None:
    [told] = await batches.accepted(create())
    [alone] = [await server.send(create(order_id=OTHER))]
    assert token_position(told.consistency_token, server.store.log_id) == 1
    assert (told.version, told.position, told.replayed) == (1, 1, False)
    assert {field.name for field, _ in told.ListFields()} == {field.name for field, _ in alone.ListFields()}


@pytest.mark.parametrize(
    "command",
    [
        pay(order_id=OTHER),
        create(),
        ship(),
        asked(add("milk"), expected_version=7),
        add("", -1),
        create(item("tea", 0), item("", 2)),
        pay(order_id=""),
        asked(pay(), request_id="not a uuid"),
    ],
    ids=["missing", "exists", "state", "version", "fields", "items", "no id", "request id"],
)
async def test_a_refusal_has_the_status_and_details_of_its_own_rpc(
    batches: Batches, server: CommandSide, command: Message
) -> None:
    await server.send(create())
    [outcome] = await batches.send(command)
    assert outcome.error == await status_of_its_own_rpc(server, command)
    assert await server.store.head() == 1


async def status_of_its_own_rpc(server: CommandSide, command: Message) -> Any:
    contract = server.contract.commands[command.DESCRIPTOR.full_name]
    try:
        read = REQUESTS.read(contract.request, command.SerializeToString())
        await server.execution.execute(command_call(contract, read, {}))
    except TwofoldError as error:
        return status_of(error, contract.package)
    raise AssertionError("it was accepted")


async def test_what_is_no_command_is_told_by_its_name(batches: Batches) -> None:
    outcomes = await batches.send(created(), AnyMessage(), AnyMessage(type_url="x.org/no.Such"), create())
    for outcome, name in zip(outcomes, ["shop.orders.v1.OrderCreated", "empty", "no.Such"], strict=False):
        assert refused(outcome) == ("INVALID_ARGUMENT", "UNKNOWN_COMMAND", "twofold.v1")
        assert name in outcome.error.message
    assert receipt(outcomes[3]).version == 1


async def test_a_message_that_cannot_be_read_is_malformed(batches: Batches) -> None:
    broken = pack(create())
    broken.value = b"\xff\xff"
    outcomes = await batches.send(broken, create())
    assert refused(outcomes[0]) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE", DOMAIN)
    assert receipt(outcomes[1]).version == 1


async def test_a_field_that_the_server_does_not_know_is_refused_for_its_command_alone(
    batches: Batches,
) -> None:
    newer = pack(create(order_id=OTHER))
    newer.value += b"\xfa\x3f\x01x"
    outcomes = await batches.send(newer, create())
    assert refused(outcomes[0]) == ("INVALID_ARGUMENT", "UNKNOWN_FIELD", DOMAIN)
    assert receipt(outcomes[1]).version == 1


async def test_every_wrong_field_of_every_command_is_told(batches: Batches) -> None:
    outcomes = await batches.send(add("", 0), pay(order_id="?"))
    told = []
    for outcome in outcomes:
        bad = BadRequest()
        assert any(detail.Unpack(bad) for detail in outcome.error.details)
        told.append({violation.field for violation in bad.field_violations})
    assert told[0] >= {"product_id", "quantity"}
    assert told[1] == {"order_id"}


async def test_what_goes_wrong_unexpectedly_is_an_id_that_is_in_the_log_and_harms_no_other(
    server: CommandSide,
) -> None:
    async def stumble(call: CommandCall, proceed: Next) -> CommandResult:
        if call.aggregate_id == OTHER:
            raise LookupError("password=hunter2")
        return await proceed(call)

    with capture_logs() as lines:
        outcomes = await Batches(server, middleware=[stumble]).send(
            create(), create(order_id=OTHER), add("milk")
        )
    assert refused(outcomes[1]) == ("INTERNAL", "INTERNAL", DOMAIN)
    assert "hunter2" not in str(outcomes[1])
    assert [line["error_id"] for line in lines] == [info(outcomes[1].error).metadata["error_id"]]
    assert [receipt(outcomes[n]).version for n in (0, 2)] == [1, 2]


async def test_every_command_of_a_batch_is_stored_with_what_its_caller_said(
    batches: Batches, server: CommandSide
) -> None:
    said = {"twofold-correlation-id": "import-7", "twofold-actor": "ada"}
    await batches.send(create(), add("milk"), call=Call(metadata=said))
    events = await server.store.read_events(0)
    assert {(e.metadata.correlation_id, e.metadata.actor) for e in events} == {("import-7", "ada")}
    assert len({e.metadata.causation_id for e in events}) == 2, "each command is its own cause"


async def test_the_newest_token_of_the_batch_is_sent_along(batches: Batches, server: CommandSide) -> None:
    call = Call()
    outcomes = await batches.send(create(), pay(order_id=OTHER), add("milk"), call=call)
    assert dict(call.trailing) == {METADATA_KEY: outcomes[2].receipt.consistency_token}
    assert token_position(call.trailing[0][1], server.store.log_id) == 2


async def test_where_nothing_was_accepted_no_token_is_sent_along(batches: Batches) -> None:
    call = Call()
    await batches.send(pay(), call=call)
    assert call.trailing == ()


# --- the size of a batch -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_one_to_a_thousand_commands(
    batches: Batches, server: CommandSide, count: int
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await batches.send(*new_orders(count))
    assert [field for field, _ in refusal.value.violations] == ["commands"]
    assert await server.store.head() == 0


async def test_a_thousand_commands_share_commits(server: CommandSide, store: ControlledStore) -> None:
    receipts = await Batches(server).accepted(*new_orders(1000))
    assert [r.position for r in receipts] == list(range(1, 1001))
    assert len(store.batches) == 10, "of 100 each, which is what the writer takes at most"
    assert server.writer.statistics.take()["commits"] == 10


async def test_a_batch_that_is_too_large_is_refused_as_a_whole(server: CommandSide) -> None:
    batches = Batches(server)
    batches._service._requests = RequestReader(max_bytes=1000)
    with pytest.raises(TooLarge):
        await batches.send(*new_orders(50))
    assert await server.store.head() == 0


# --- the order of commands on one aggregate ------------------------------------------------------

LIFE = [create(item("tea"), item("milk")), remove("milk"), pay(), ship(), complete()]
"""Commands each of which is refused without the one before it."""


async def test_the_whole_life_of_an_order_fits_into_one_batch(
    batches: Batches, server: CommandSide, store: ControlledStore
) -> None:
    assert [r.version for r in await batches.accepted(*LIFE)] == [1, 2, 3, 4, 5]
    assert store.batches == [5]


async def test_commands_on_an_order_that_is_not_in_memory_are_decided_in_order(
    server: CommandSide, store: ControlledStore
) -> None:
    await server.send(LIFE[0])
    restarted = command_side(store)
    assert [r.version for r in await Batches(restarted).accepted(*LIFE[1:])] == [2, 3, 4, 5]


@pytest.mark.parametrize("capacity", [1, 2])
async def test_commands_on_an_order_that_falls_out_of_memory_in_between_are_decided_in_order(
    store: ControlledStore, capacity: int
) -> None:
    """Each new order pushes another one out of memory, with its events still on their way."""
    server = command_side(store, capacity=capacity)
    await server.send(LIFE[0])
    commands = [each for step in LIFE[1:] for each in (step, create(order_id=""), create(order_id=""))]
    receipts = await Batches(server).accepted(*commands)
    assert [r.version for r in receipts if r.aggregate_id == ORDER] == [2, 3, 4, 5]


async def test_commands_on_many_orders_are_decided_in_order_whatever_is_in_memory(
    store: ControlledStore,
) -> None:
    server = command_side(store, capacity=3, max_batch=7)
    orders = [new_id() for _ in range(8)]
    steps = [[with_id(step, each) for step in LIFE] for each in orders]
    interleaved = [step for row in zip(*steps, strict=True) for step in row]
    receipts = await Batches(server).accepted(*interleaved)
    for each in orders:
        assert [r.version for r in receipts if r.aggregate_id == each] == [1, 2, 3, 4, 5]


async def test_commands_on_an_order_that_another_server_changed_are_decided_in_order(
    server: CommandSide, store: ControlledStore
) -> None:
    """The first is refused by what this server remembers, the second accepted; in truth it is the reverse."""
    await server.send(create())
    await command_side(store).send(pay())
    outcomes = await Batches(server).send(ship(), cancel(), add("milk"), complete())
    assert receipt(outcomes[0]).version == 3
    assert refused(outcomes[1])[1] == "ORDER_NOT_CANCELLABLE"
    assert refused(outcomes[2])[1] == "ORDER_NOT_PENDING"
    assert receipt(outcomes[3]).version == 4


async def test_a_refused_command_holds_up_no_later_one(batches: Batches) -> None:
    outcomes = await batches.send(create(), ship(), pay(), add("milk"), ship())
    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == [
        "receipt",
        "error",
        "receipt",
        "error",
        "receipt",
    ]
    assert receipt(outcomes[4]).version == 3


async def test_what_would_happen_is_told_of_the_state_at_its_place_in_the_batch(
    batches: Batches, server: CommandSide
) -> None:
    outcomes = await batches.send(
        create(), asked(pay(), validate_only=True), add("milk"), asked(ship(), validate_only=True)
    )
    assert [receipt(outcomes[n]).version for n in (0, 1, 2)] == [1, 2, 2]
    assert len(outcomes[1].receipt.planned_events) == 1
    assert refused(outcomes[3])[1] == "ORDER_NOT_PAID"
    assert await server.facts(ORDER) == [created(), added("milk")]


@given(creations, changes_of_orders, st.data())
async def test_a_batch_of_any_commands_on_one_order_comes_to_what_they_come_to_one_by_one(
    creation: CreateOrderRequest, changes: list[Any], data: st.DataObject
) -> None:
    """Whatever this server remembers, whatever another one did before, however long the store takes."""
    store = Slow([data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=9)) for _ in range(2)])
    capacity, max_batch = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    ours, theirs = (command_side(store, capacity=capacity, max_batch=max_batch) for _ in range(2))
    commands = [creation, *changes]
    past = Scenario(order)
    for _ in range(data.draw(st.integers(0, len(commands)))):
        command = commands.pop(0)
        await Batches(theirs if data.draw(st.booleans()) else ours).send(command)
        past = past.given(*(expected_of(past, command) or ()))
    between = [each for command in commands for each in (command, create(order_id=""))]
    outcomes = (await Batches(ours).send(*between))[::2] if between else []
    for command, outcome in zip(commands, outcomes, strict=True):
        facts = expected_of(past, command)
        if facts is None:
            assert refused(outcome)
        else:
            past = past.given(*facts)
            assert receipt(outcome).version == len(past.past)
    assert await ours.facts(ORDER) == list(past.past)


class Slow(ControlledStore):
    """Takes some turns of the event loop for each load, and for each append."""

    def __init__(self, turns: list[list[int]]) -> None:
        super().__init__()
        self._loads, self._appends = (itertools.cycle(each) for each in turns)

    async def load_stream(self, stream_name: str, *, state_revision: int, limit: int = 1000) -> LoadedStream:
        """See EventStore."""
        await turns(next(self._loads))
        return await super().load_stream(stream_name, state_revision=state_revision, limit=limit)

    async def append(self, batch: Sequence[Append]) -> list[AppendOutcome]:
        """See EventStore."""
        await turns(next(self._appends))
        return await super().append(batch)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def expected_of(past: Scenario, command: Any) -> Any:
    """The facts of a command, or None where it is refused."""
    is_creation = isinstance(command, CreateOrderRequest)
    if is_creation == bool(past.past):
        return None
    decision = past.when(command)
    return None if decision.refusal else decision.facts


def with_id(command: Any, order_id: str) -> Any:
    return asked(command, order_id=order_id)


# --- request ids ---------------------------------------------------------------------------------


async def test_a_request_id_that_comes_twice_in_a_batch_takes_effect_once(
    batches: Batches, server: CommandSide
) -> None:
    paying, creating = new_id(), new_id()
    receipts = await batches.accepted(
        asked(create(order_id=""), request_id=creating),
        asked(create(order_id=""), request_id=creating),
        create(),
        asked(pay(), request_id=paying),
        asked(pay(), request_id=paying),
        ship(),
    )
    assert [r.replayed for r in receipts] == [False, True, False, False, True, False]
    assert receipts[0].aggregate_id == receipts[1].aggregate_id
    assert (receipts[3].version, receipts[3].position) == (receipts[4].version, receipts[4].position)
    assert await server.store.head() == 4


async def test_a_request_id_that_comes_twice_for_different_commands_is_refused_the_second_time(
    batches: Batches, server: CommandSide
) -> None:
    reused = new_id()
    outcomes = await batches.send(
        create(), asked(add("milk"), request_id=reused), asked(add("jam"), request_id=reused), add("salt")
    )
    assert refused(outcomes[2]) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED", DOMAIN)
    assert receipt(outcomes[3]).version == 3
    assert await server.facts(ORDER) == [created(), added("milk"), added("salt")]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_batch_that_is_sent_again_gives_the_first_receipts(
    server: CommandSide, store: ControlledStore, restarted: bool
) -> None:
    batch = [asked(each, request_id=new_id()) for each in (*LIFE, create(order_id=""), *new_orders(200))]
    first = await Batches(server).accepted(*batch)
    again = await Batches(command_side(store) if restarted else server).accepted(*batch)
    assert all(r.replayed for r in again)
    for before, after in zip(first, again, strict=True):
        after.replayed = False
        assert after == before
    assert await store.head() == len(batch)


async def test_of_a_batch_that_is_sent_again_only_what_was_not_done_is_done(
    server: CommandSide, store: ControlledStore
) -> None:
    batch = [asked(each, request_id=new_id()) for each in (create(), *(add(f"p{n}") for n in range(20)))]
    await Batches(server).accepted(*batch[::3])
    receipts = await Batches(command_side(store)).accepted(*batch)
    assert [r.replayed for r in receipts] == [n % 3 == 0 for n in range(21)]
    assert sorted(r.version for r in receipts) == list(range(1, 22))
    done = [r.version for r in receipts if not r.replayed]
    assert done == sorted(done), "in the order of the batch"


async def test_what_was_refused_the_first_time_is_decided_again(batches: Batches) -> None:
    batch = [asked(each, request_id=new_id()) for each in (ship(), create(), pay())]
    assert [o.WhichOneof("outcome") for o in await batches.send(*batch)] == ["error", "receipt", "receipt"]
    receipts = await batches.accepted(*batch)
    assert [(r.version, r.replayed) for r in receipts] == [(3, False), (1, True), (2, True)]


# --- bad days ------------------------------------------------------------------------------------


async def test_a_failed_commit_fails_its_commands_and_the_rest_is_decided_on_the_truth(
    store: ControlledStore,
) -> None:
    server = command_side(store, max_batch=2)
    store.failures.append(AWAY)
    outcomes = await Batches(server).send(
        create(), add("milk"), pay(), create(order_id=OTHER), add("jam", order_id=OTHER)
    )
    assert [refused(outcomes[n]) for n in (0, 1)] == [("UNAVAILABLE", "STORE_UNAVAILABLE", DOMAIN)] * 2
    assert refused(outcomes[2]) == ("NOT_FOUND", "ORDER_NOT_FOUND", DOMAIN)
    assert [receipt(outcomes[n]).version for n in (3, 4)] == [1, 2]
    assert await server.facts(ORDER) == []


async def test_a_batch_whose_caller_gave_up_is_committed_whole_and_answered_when_sent_again(
    server: CommandSide, store: ControlledStore
) -> None:
    batch = [asked(each, request_id=new_id()) for each in LIFE]
    store.hold()
    sending = asyncio.create_task(Batches(server).send(*batch))
    await store.batch_waits()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    store.release()
    await server.writer.close()
    receipts = await Batches(server).accepted(*batch)
    assert [(r.version, r.replayed) for r in receipts] == [(n, True) for n in range(1, 6)]
    assert await store.head() == 5


async def test_two_batches_on_one_order_through_two_servers_are_each_applied_once(
    store: ControlledStore,
) -> None:
    servers = [Batches(command_side(store)) for _ in range(2)]
    await servers[0].send(create())
    both = await asyncio.gather(*(server.send(*[add("tea", 1)] * 30) for server in servers))
    accepted = [o.receipt.version for outcomes in both for o in outcomes if o.HasField("receipt")]
    assert sorted(accepted) == list(range(2, len(accepted) + 2))
    for outcomes in both:
        versions = [o.receipt.version for o in outcomes if o.HasField("receipt")]
        assert versions == sorted(versions)
        others = [refused(o) for o in outcomes if not o.HasField("receipt")]
        assert set(others) <= {("ABORTED", "CONTENTION", DOMAIN)}
    assert await store.head() == len(accepted) + 1
