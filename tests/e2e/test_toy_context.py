"""A new bounded context is one folder of protos and one folder of Python; its mistakes stop the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
import pytest_asyncio

from tests.e2e.refusals import refusal
from tests.e2e.shop import visiting
from tests.e2e.systems import SERVING, System, a_system
from tests.e2e.toy_context import CONTEXTS, MANIFEST, PACKAGE, SERVICES, ToyCaller, ToyContext
from twofold_client import CallError

pytestmark = pytest.mark.xdist_group("toy")


class Toy(NamedTuple):
    """A system that serves the toy context beside the shop."""

    system: System
    context: ToyContext


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def toy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Toy]:
    folder = tmp_path_factory.mktemp("toy")
    context = ToyContext(folder)
    await context.generate()
    async with a_system(folder, contexts=f"shop_contexts,{CONTEXTS}") as system:
        system.variables["PYTHONPATH"] = context.python_path
        await system.up()
        yield Toy(system, context)


@pytest.fixture
async def commands(toy: Toy) -> AsyncIterator[ToyCaller]:
    async with grpc.aio.insecure_channel(toy.system.command_address) as channel:
        yield ToyCaller(toy.context.generated / "descriptors.binpb", channel)


@pytest.fixture
async def queries(toy: Toy) -> AsyncIterator[ToyCaller]:
    async with grpc.aio.insecure_channel(toy.system.query_address) as channel:
        yield ToyCaller(toy.context.generated / "descriptors.binpb", channel)


async def test_its_commands_and_queries_are_served(commands: ToyCaller, queries: ToyCaller) -> None:
    booked = (await commands.call("CommandService.BookParcel", grams=900))["receipt"]
    parcel = {"parcelId": booked["aggregateId"]}
    sent = (await commands.call("CommandService.DispatchParcel", **parcel, van="7"))["receipt"]
    assert sent["version"] == "2"
    shown = await queries.call(
        "QueryService.GetParcel", **parcel, readOptions={"consistencyToken": sent["consistencyToken"]}
    )
    assert (shown["grams"], shown["van"]) == (900, "7")
    assert int(shown["readInfo"]["position"]) >= int(sent["position"])


async def test_the_shop_is_served_beside_it(toy: Toy) -> None:
    for role, service in (
        ("command-server", f"{PACKAGE}.CommandService"),
        ("command-server", "shop.orders.v1.CommandService"),
        ("query-server", f"{PACKAGE}.QueryService"),
    ):
        assert await toy.system.health(role, service) == SERVING
    async with visiting(toy.system) as shop:
        await shop.create()


async def test_its_own_rules_and_rejections_are_told_under_its_own_name(commands: ToyCaller) -> None:
    light = await refusal(commands.call("CommandService.BookParcel", grams=0))
    assert (light.code, light.domain) == (grpc.StatusCode.INVALID_ARGUMENT, PACKAGE)
    assert [violation.field for violation in light.violations] == ["grams"]

    booked = (await commands.call("CommandService.BookParcel", grams=1))["receipt"]
    parcel = {"parcelId": booked["aggregateId"]}
    await commands.call("CommandService.DispatchParcel", **parcel, van="7")
    twice = await refusal(commands.call("CommandService.DispatchParcel", **parcel, van="8"))
    assert (twice.code, twice.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_DISPATCHED")
    assert twice.domain == PACKAGE


async def test_an_unexpected_exception_is_internal_and_never_shows_its_text(
    toy: Toy, commands: ToyCaller, queries: ToyCaller
) -> None:
    booked = (await commands.call("CommandService.BookParcel", grams=1))["receipt"]
    parcel = {"parcelId": booked["aggregateId"]}
    async with visiting(toy.system) as shop:
        head = await shop.head()
        for call in (
            commands.call("CommandService.DispatchParcel", **parcel, van="broken"),
            commands.call("CommandService.DispatchParcel", **parcel, van="undeclared"),
            queries.call("QueryService.GetParcel", parcelId="broken"),
        ):
            keeps_its_secret(toy, await refusal(call))
        assert await shop.head() == head
    sent = await commands.call("CommandService.DispatchParcel", **parcel, van="7")
    assert sent["receipt"]["version"] == "2"


def keeps_its_secret(toy: Toy, error: CallError) -> None:
    assert (error.code, error.reason, error.domain) == (grpc.StatusCode.INTERNAL, "INTERNAL", PACKAGE)
    assert "secret" not in str(error)
    assert "VAN_IS_FULL" not in str(error)
    log = "\n".join(toy.system.programs[0].err)
    assert error.metadata["error_id"] in error.message
    assert error.metadata["error_id"] in log
    assert "Traceback" in log


# --- mistakes ------------------------------------------------------------------------------------

NO_PARCEL_QUERY = MANIFEST.replace(
    "queries=[Query(request=pb.GetParcelRequest, answer=get_parcel)]", "queries=[]"
)
MANIFESTS = {
    "a command without a handler": (
        MANIFEST.replace("pb.BookParcelRequest: book, ", ""),
        f"command {PACKAGE}.BookParcelRequest has no handler; add it to a decider of context {PACKAGE}",
    ),
    "a command with two handlers": (
        MANIFEST.replace(
            "deciders=[parcel]",
            "deciders=[parcel, Decider(category='other', initial_state=Parcel, evolve={}, "
            "decide={pb.BookParcelRequest: book})]",
        ),
        f"command {PACKAGE}.BookParcelRequest has two handlers; remove one",
    ),
    "two deciders of one category": (
        MANIFEST.replace("deciders=[parcel]", "deciders=[parcel, parcel]"),
        f"the category 'parcel' of {PACKAGE} is taken by {PACKAGE}",
    ),
    "an event that nothing evolves": (
        MANIFEST.replace("facts.ParcelBooked: lambda parcel, event: parcel,", ""),
        f"event {PACKAGE}.ParcelBooked is evolved by 0 deciders; it must be one",
    ),
    "a handler of what is no command": (
        MANIFEST.replace("decide={pb.BookParcel", "decide={pb.GetParcelRequest: book, pb.BookParcel"),
        f"{PACKAGE}.GetParcelRequest is handled in {PACKAGE}, but is no command of it",
    ),
    "another proto package": (
        MANIFEST.replace('package="acme.shipping.v1"', 'package="acme.billing.v1"'),
        "no generated code for proto package acme.billing.v1",
    ),
    "a module that cannot be imported": (
        MANIFEST.replace(
            "from acme.shipping.v1 import services_pb2 as pb", "from acme.shipping.v2 import pb"
        ),
        "acme.shipping.v2",
    ),
    "no manifest": (
        MANIFEST.replace("context = Context(", "manifest = Context("),
        "no sub-package exports `context`",
    ),
    "a name that does not exist": (MANIFEST.replace("import events_pb2", "import evants_pb2"), "evants_pb2"),
}
QUERY_MANIFESTS = {
    "a query without an answer": (
        NO_PARCEL_QUERY,
        f"query {PACKAGE}.GetParcelRequest has no answer; add it to the queries of {PACKAGE}",
    ),
    "a query with two answers": (
        NO_PARCEL_QUERY.replace(
            "queries=[]", "queries=[Query(request=pb.GetParcelRequest, answer=get_parcel)] * 2"
        ),
        f"query {PACKAGE}.GetParcelRequest has two answers; remove one",
    ),
    "a projection of another name": (
        MANIFEST.replace('name="parcels"', 'name="boxes"'),
        f"query GetParcel of {PACKAGE} reads projection 'parcels', which the context does not have",
    ),
}
PROTOS = {
    "an RPC without options": (
        SERVICES.replace("option (twofold.v1.command) = {existence: EXISTENCE_MUST_NOT_EXIST};", ""),
        f"{PACKAGE}.CommandService.BookParcel has neither the option twofold.v1.command nor twofold.v1.query",
    ),
    "a command that does not say whether its aggregate exists": (
        SERVICES.replace("{existence: EXISTENCE_MUST_NOT_EXIST}", "{}"),
        f"{PACKAGE}.CommandService.BookParcel does not say `existence`",
    ),
    "a command without an aggregate id": (
        SERVICES.replace(
            "string parcel_id = 1 [(twofold.v1.aggregate_id) = true];", "string parcel_id = 1;", 1
        ),
        f"{PACKAGE}.BookParcelRequest marks 0 fields with twofold.v1.aggregate_id; mark one",
    ),
    "a query without a projection": (
        SERVICES.replace('{projection: "parcels"}', "{}"),
        f"{PACKAGE}.QueryService.GetParcel does not say `projection`",
    ),
    "an answer without a receipt": (
        SERVICES.replace("twofold.v1.Receipt receipt = 1;", "twofold.v1.Receipt ticket = 1;", 1),
        f"{PACKAGE}.BookParcelResponse of {PACKAGE}.CommandService.BookParcel needs a field "
        "`twofold.v1.Receipt receipt`",
    ),
}


async def refuses_to_start(system: System, context: ToyContext, role: str, why: str) -> None:
    system.variables["PYTHONPATH"] = context.python_path
    server = system.start(role, contexts=CONTEXTS)
    assert await server.ended(seconds=60) == 2, server.told
    [line] = server.err
    assert line.startswith("twofold: ")
    assert why in line


@pytest.mark.parametrize("mistake", MANIFESTS)
async def test_a_mistake_in_a_context_stops_the_command_server(
    toy: Toy, own_system: System, tmp_path: Path, mistake: str
) -> None:
    manifest, why = MANIFESTS[mistake]
    context = ToyContext(tmp_path, manifest=manifest)
    context.generated = toy.context.generated
    await refuses_to_start(own_system, context, "command-server", why)


@pytest.mark.parametrize("mistake", QUERY_MANIFESTS)
async def test_a_mistake_in_its_queries_stops_the_query_server(
    toy: Toy, own_system: System, tmp_path: Path, mistake: str
) -> None:
    manifest, why = QUERY_MANIFESTS[mistake]
    context = ToyContext(tmp_path, manifest=manifest)
    context.generated = toy.context.generated
    await refuses_to_start(own_system, context, "query-server", why)


@pytest.mark.parametrize("mistake", PROTOS)
async def test_a_mistake_in_its_protos_stops_the_server(
    own_system: System, tmp_path: Path, mistake: str
) -> None:
    services, why = PROTOS[mistake]
    context = ToyContext(tmp_path, services=services)
    await context.generate()
    await refuses_to_start(own_system, context, "command-server", why)
