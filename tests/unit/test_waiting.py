"""wait_for: the receipt comes when the named projections have applied the command."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from google.rpc.code_pb2 import UNAVAILABLE
from google.rpc.error_details_pb2 import RetryInfo

from tests.unit.batch_side import Batches, asked, info, receipt, refused
from tests.unit.command_side import CommandSide
from tests.unit.order_messages import ORDER, change, create, item, pay
from tests.unit.stores import ControlledStore, decided
from twofold.v1.command_pb2 import Receipt
from twofold_server.commands import waiting
from twofold_server.commands.bus import CommandBus
from twofold_server.commands.progress import ProjectionProgress
from twofold_server.commands.waiting import MARGIN_SECONDS, MAX_WAIT_SECONDS, waiting_for_projections
from twofold_server.errors import InvalidRequest, NotFound, ProjectionLag
from twofold_server.rpc.command_services import command_call
from twofold_server.rpc.status import status_of

REQUEST = "7d9f0f5e-7a55-4ac4-a55b-1b5f5d1f2a01"
NAMES = ("orders", "sales")


class Progress(ProjectionProgress):
    """Tells what was waited for."""

    def __init__(self, log_id: str) -> None:
        super().__init__(log_id)
        self.log = log_id
        self.waits: list[tuple[str, int, float]] = []

    async def reach(self, projection: str, position: int, seconds: float) -> bool:
        """See ProjectionProgress."""
        self.waits.append((projection, position, seconds))
        return await super().reach(projection, position, seconds)

    async def applied(self, projection: str, position: int) -> None:
        """A projector tells that it has applied a position."""
        notice = json.dumps({"log_id": self.log, "position": position}).encode()
        await self.heard(f"twofold.progress.{projection}", notice)


class Waiting:
    """A command server that knows of projections."""

    def __init__(self, server: CommandSide, *immediate: str) -> None:
        self.server = server
        self.progress = Progress(server.store.log_id)
        self.middleware = waiting_for_projections(self.progress, NAMES, immediate=immediate)
        self._bus = CommandBus(server.execution.execute, [self.middleware])

    async def send(
        self, command: Any, *wait_for: str, seconds: float | None = None, **fields: Any
    ) -> Receipt:
        """Send a command that waits for projections; with a request id unless told otherwise."""
        command = asked(command, **({"request_id": REQUEST, "wait_for": list(wait_for)} | fields))
        contract = self.server.contract.commands[command.DESCRIPTOR.full_name]
        result = await self._bus.dispatch(command_call(contract, command, {}, seconds))
        return result.receipt


@pytest.fixture
def served(server: CommandSide) -> Waiting:
    """The server of the store, with projections."""
    return Waiting(server)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAIT_SECONDS", 0.01)


async def test_the_receipt_comes_when_the_projection_has_applied_the_command(served: Waiting) -> None:
    sending = asyncio.create_task(served.send(create(), "orders"))
    await decided()
    assert await served.server.store.head() == 1
    assert not sending.done(), "it is stored, and not yet applied"
    await served.progress.applied("sales", 9)
    await decided()
    assert not sending.done(), "another projection has applied it"
    await served.progress.applied("orders", 1)
    assert (await sending).position == 1


async def test_the_receipt_waits_for_every_projection_that_is_named(served: Waiting) -> None:
    sending = asyncio.create_task(served.send(create(), "orders", "sales"))
    await served.progress.applied("sales", 1)
    await decided()
    assert not sending.done()
    await served.progress.applied("orders", 3)
    assert (await sending).version == 1


async def test_a_command_that_names_none_does_not_wait(served: Waiting) -> None:
    assert (await served.send(create(), request_id="")).version == 1
    assert served.progress.waits == []


async def test_a_projection_that_is_there_already_costs_no_wait(served: Waiting) -> None:
    await served.progress.applied("orders", 1)
    assert (await served.send(create(), "orders")).version == 1


async def test_a_command_that_changes_nothing_waits_for_all_that_its_caller_could_have_seen(
    served: Waiting,
) -> None:
    await served.server.send(create(item("tea", 2)))
    await served.server.send(create(order_id=""))
    await served.progress.applied("orders", 2)
    assert (await served.send(change("tea", 2), "orders")).version == 1
    assert [position for _, position, _ in served.progress.waits] == [2]


async def test_what_is_only_tried_does_not_wait(served: Waiting) -> None:
    receipt = await served.send(create(), "orders", validate_only=True, request_id="")
    assert len(receipt.planned_events) == 1
    assert served.progress.waits == []


async def test_what_is_refused_does_not_wait(served: Waiting) -> None:
    with pytest.raises(NotFound):
        await served.send(pay(), "orders")
    assert served.progress.waits == []


async def test_an_unknown_projection_is_refused_with_those_that_there_are(served: Waiting) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await served.send(create(), "orders", "no-such")
    assert refusal.value.reason == "UNKNOWN_PROJECTION"
    assert refusal.value.message == "there is no projection no-such; there are orders, sales"
    assert [field for field, _ in refusal.value.violations] == ["options.wait_for"]
    assert await served.server.store.head() == 0


async def test_without_a_request_id_nothing_is_done_because_asking_again_would_not_be_safe(
    served: Waiting,
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await served.send(create(), "orders", request_id="")
    assert [field for field, _ in refusal.value.violations] == ["request_id"]
    assert await served.server.store.head() == 0


@pytest.mark.usefixtures("impatient")
async def test_a_projection_that_is_too_late_is_told_together_with_that_the_command_is_stored(
    served: Waiting,
) -> None:
    await served.progress.applied("orders", 0)
    with pytest.raises(ProjectionLag) as late:
        await served.send(create(), "orders")
    assert late.value.metadata == {
        "projection": "orders",
        "want": "1",
        "have": "0",
        "stored": "true",
        "aggregate_id": ORDER,
    }
    assert "same request_id" in late.value.message
    assert await served.server.store.head() == 1
    status = status_of(late.value, "shop.orders.v1")
    assert (status.code, info(status).reason) == (UNAVAILABLE, "PROJECTION_LAG")
    assert any(detail.Unpack(RetryInfo()) for detail in status.details)


@pytest.mark.usefixtures("impatient")
async def test_who_asks_again_gets_the_receipt_when_the_projection_has_caught_up(served: Waiting) -> None:
    for _ in range(2):
        with pytest.raises(ProjectionLag):
            await served.send(create(), "orders")
    await served.progress.applied("orders", 1)
    again = await served.send(create(), "orders")
    assert (again.position, again.replayed) == (1, True)
    assert await served.server.store.head() == 1


@pytest.mark.usefixtures("impatient")
async def test_the_projection_that_is_late_is_named(served: Waiting) -> None:
    await served.progress.applied("orders", 1)
    with pytest.raises(ProjectionLag) as late:
        await served.send(create(), "orders", "sales")
    assert late.value.metadata["projection"] == "sales"


@pytest.mark.parametrize(
    ("time_remaining", "at_most"),
    [(None, MAX_WAIT_SECONDS), (60.0, MAX_WAIT_SECONDS), (2.0, 2.0 - MARGIN_SECONDS), (0.0, 0.0)],
)
async def test_the_wait_ends_before_the_callers_deadline(
    served: Waiting, time_remaining: float | None, at_most: float
) -> None:
    await served.progress.applied("orders", 1)
    await served.progress.applied("sales", 1)
    await served.send(create(), "orders", "sales", seconds=time_remaining)
    first, second = (seconds for _, _, seconds in served.progress.waits)
    assert second <= first <= at_most
    assert first > at_most - 1, "and it takes the time that there is"


async def test_the_commit_counts_as_a_part_of_the_wait(served: Waiting, store: ControlledStore) -> None:
    store.hold()
    sending = asyncio.create_task(served.send(create(), "orders", seconds=MARGIN_SECONDS))
    await store.batch_waits()
    store.release()
    with pytest.raises(ProjectionLag):
        await sending
    [(_, _, left)] = served.progress.waits
    assert left < 0, "nothing is left after it"


async def test_each_command_of_a_batch_waits_for_its_own_projections(served: Waiting) -> None:
    batches = Batches(served.server, middleware=[served.middleware])
    sending = asyncio.create_task(
        batches.send(
            asked(create(), request_id=REQUEST, wait_for=["orders"]), asked(pay(), wait_for=["orders"]), pay()
        )
    )
    await decided()
    assert not sending.done()
    await served.progress.applied("orders", 1)
    outcomes = await sending
    assert [receipt(outcomes[n]).version for n in (0, 2)] == [1, 2]
    assert refused(outcomes[1])[0] == "INVALID_ARGUMENT"


# --- projections that every command waits for --------------------------------------------------------


@pytest.fixture
def immediate(server: CommandSide) -> Waiting:
    """The server of the store, where every receipt waits for the orders."""
    return Waiting(server, "orders")


async def test_a_command_that_names_none_waits_for_an_immediate_projection(immediate: Waiting) -> None:
    sending = asyncio.create_task(immediate.send(create(), request_id=""))
    await decided()
    assert not sending.done()
    await immediate.progress.applied("orders", 1)
    receipt = await sending
    assert (receipt.position, list(receipt.late_projections)) == (1, [])


@pytest.mark.usefixtures("impatient")
async def test_an_immediate_projection_that_is_late_never_takes_the_receipt_from_who_cannot_ask_again(
    immediate: Waiting,
) -> None:
    receipt = await immediate.send(create(), request_id="")
    assert (receipt.aggregate_id, receipt.position) == (ORDER, 1)
    assert list(receipt.late_projections) == ["orders"]


@pytest.mark.usefixtures("impatient")
async def test_who_can_ask_again_is_told_that_an_immediate_projection_is_late(immediate: Waiting) -> None:
    with pytest.raises(ProjectionLag) as late:
        await immediate.send(create())
    assert late.value.metadata["stored"] == "true"
    await immediate.progress.applied("orders", 1)
    again = await immediate.send(create())
    assert (again.replayed, list(again.late_projections)) == (True, [])


async def test_what_is_only_tried_waits_for_no_immediate_projection(immediate: Waiting) -> None:
    await immediate.send(create(), validate_only=True, request_id="")
    assert immediate.progress.waits == []


async def test_an_immediate_projection_that_is_named_too_is_waited_for_once(immediate: Waiting) -> None:
    await immediate.progress.applied("orders", 1)
    await immediate.progress.applied("sales", 1)
    await immediate.send(create(), "sales", "orders")
    assert [name for name, _, _ in immediate.progress.waits] == ["sales", "orders"]
