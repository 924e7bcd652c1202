"""A contract changes while its events stay: written by one version, served by the next."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from tests.e2e.people import Caller, People, Version, versions
from tests.e2e.systems import System
from twofold.v1.event_service_pb2 import EventFilter, ReadEventsRequest, ReadStreamRequest, SubscribeRequest
from twofold.v1.event_service_pb2_grpc import EventServiceStub

pytestmark = pytest.mark.timeout(180)
ADA = "0192f5d0-0000-7000-8000-000000000001"
BOB = "0192f5d0-0000-7000-8000-000000000002"
EVE = "0192f5d0-0000-7000-8000-000000000003"


async def a_past(people: People, first: Version) -> None:
    """Events of the first version: four in the log."""
    server = await people.role(first, "command-server")
    caller = Caller(people.system, first.messages())
    await caller.send("Register", person_id=ADA, name="Ada Lovelace", place="London")
    await caller.send("Move", person_id=ADA, place="Bath")
    await caller.send("Register", person_id=BOB, name="Bob Hope", place="Eltham")
    await caller.send("Move", person_id=BOB, place="Los Angeles")
    assert await server.stop() == 0, server.told


async def test_a_new_version_serves_what_the_old_one_wrote(own_system: System, tmp_path: Path) -> None:
    first, second = await asyncio.to_thread(versions, tmp_path, ["first", "second"])
    people = People(own_system)
    await a_past(people, first)
    await people.role(second, "command-server")
    caller = Caller(own_system, second.messages())

    # A command on an aggregate whose events are all of the old version.
    with pytest.raises(grpc.aio.AioRpcError, match="lives in Bath already"):
        await caller.send("Move", person_id=ADA, place="Bath")
    receipt = await caller.send("Move", person_id=ADA, place="Rome")
    assert (receipt.version, receipt.position) == (3, 5)

    # EventService, in today's names and revisions.
    async with grpc.aio.insecure_channel(own_system.command_address) as channel:
        events: Any = EventServiceStub(channel)
        assert await sent(events.ReadEvents(ReadEventsRequest()), second) == TODAYS
        moved = EventFilter(event_types=["acme.people.v1.PersonMoved"])
        assert await sent(events.ReadEvents(ReadEventsRequest(filter=moved)), second) == [
            TODAYS[1],
            TODAYS[3],
            TODAYS[4],
        ]
        stream = ReadStreamRequest(stream_name=f"person-{ADA}")
        assert await sent(events.ReadStream(stream), second) == [*TODAYS[:2], TODAYS[4]]
        subscription = events.Subscribe(SubscribeRequest())
        assert shown((await subscription.read()).events, second) == TODAYS
        subscription.cancel()

    # The read model, built from the log.
    await people.role(second, "projector")
    await people.role(second, "query-server")
    assert (
        await caller.person(ADA, receipt.consistency_token) == "Lovelace, Ada of London; now Bath; now Rome"
    )
    assert await caller.person(BOB) == "Hope, Bob of Eltham; now Los Angeles"


TODAYS = [
    (
        1,
        "PersonRegistered",
        2,
        {"personId": ADA, "firstName": "Ada", "lastName": "Lovelace", "city": "London"},
    ),
    (2, "PersonMoved", 1, {"personId": ADA, "city": "Bath"}),
    (3, "PersonRegistered", 2, {"personId": BOB, "firstName": "Bob", "lastName": "Hope", "city": "Eltham"}),
    (4, "PersonMoved", 1, {"personId": BOB, "city": "Los Angeles"}),
    (5, "PersonMoved", 1, {"personId": ADA, "city": "Rome"}),
]


async def sent(call: Any, version: Version) -> list[Any]:
    return [event async for answer in call for event in shown(answer.events, version)]


def shown(events: Any, version: Version) -> list[Any]:
    kinds = version.messages()
    names = [event.event.type_url.rpartition(".")[2] for event in events]
    return [
        (event.position, name, event.revision, MessageToDict(kinds[name].FromString(event.event.value)))
        for event, name in zip(events, names, strict=True)
    ]


async def test_a_version_that_breaks_stored_events_is_refused(own_system: System, tmp_path: Path) -> None:
    first, second, broken = await asyncio.to_thread(versions, tmp_path, ["first", "second", "broken"])
    people = People(own_system)

    await a_past(people, first)
    told = "field 3 (town) of acme.people.v1.PersonRegistered was removed; 2 stored events carry it"
    refused = people.start(broken, "command-server")
    assert await refused.ended() == 2
    assert refused.err[-1] == (
        f"twofold: the contract breaks stored events: {told}; run `twofold contracts check`"
    )
    check = await people.check(broken)
    assert check.exit_code == 1, check.told
    assert check.out[0].startswith("acme.people.v1: 1 break against the contract of 20")
    assert check.out[1:] == [f"  {told}"]
    assert check.err == []
    found = await people.check_json(broken)
    assert found["compatible"] is False
    assert found["contracts"]["acme.people.v1"]["state"] == "BROKEN"
    assert found["contracts"]["acme.people.v1"]["breaks"] == [
        {
            "kind": "REMOVED_FIELD",
            "event": "acme.people.v1.PersonRegistered",
            "field": "town",
            "stored_events": 2,
            "text": told,
        }
    ]

    # The version with upcasters keeps the field, and is taken.
    changed = await people.check(second)
    assert changed.exit_code == 0, changed.told
    assert changed.out[0].endswith("; every stored event can be read")
    server = await people.role(second, "command-server")
    unchanged = await people.check(second)  # beside the running server
    assert unchanged.exit_code == 0, unchanged.told
    assert ": unchanged since 20" in unchanged.out[0]
    await Caller(own_system, second.messages()).send("Register", person_id=EVE, name="Eve", place="Oslo")
    await server.stop()

    # Nor is there a silent way back, once the second has written what the first cannot know.
    back = people.start(first, "command-server")
    assert await back.ended() == 2
    assert back.err[-1] == (
        "twofold: the contract breaks stored events: event acme.people.v1.PersonRegistered went back from "
        "revision 2 to 1; 1 stored event has a later revision (and 2 more like this); run `twofold contracts "
        "check`"
    )
