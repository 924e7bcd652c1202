"""Whoever reads the log gets today's events: EventService, aggregates, projections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from tests.appends import append, new_event
from tests.protos import context_of, messages
from twofold.v1 import event_service_pb2 as pb
from twofold_server.commands.streams import HotStreams
from twofold_server.database import open_database
from twofold_server.errors import StartupError
from twofold_server.event_store.envelope import from_proto
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.feed import Feed
from twofold_server.event_store.memory import MemoryEventStore
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Decider, Event, Projection, Rows, Upcaster
from twofold_server.projections.fold import Fold
from twofold_server.projections.schema import prepare
from twofold_server.publishing.headers import header_lines, recorded_event, source_of
from twofold_server.rpc.event_service import EventService
from twofold_server.rpc.requests import RequestReader

UNKNOWN = b"\xfa\x01\x04kept"
OLD = messages(
    """
message Moved { option (twofold.v1.event) = {revision: 2}; string town = 1; string city = 2; }
message WentAway { option (twofold.v1.event) = {revision: 1}; string town = 1; }
message Left { option (twofold.v1.event) = {revision: 1}; string town = 1; }
"""
)
NEW = messages(
    "message Left { option (twofold.v1.event) = {revision: 1}; string city = 1; }", package="toy.v2"
)
Moved: Any = OLD["Moved"]
WentAway: Any = OLD["WentAway"]
Left: Any = OLD["Left"]
LeftNow: Any = NEW["Left"]
UPCASTERS = [
    Upcaster(event=Moved, revision=1, upcast=lambda old: Moved(city=old.town)),
    Upcaster(
        event=WentAway, revision=1, upcast=lambda old: Moved(town=old.town), into=Moved, into_revision=1
    ),
]
GONE = Upcaster(event=Left, revision=1, upcast=lambda old: LeftNow(city=old.town), into=LeftNow)
CODEC = EventCodec(
    [context_of([Moved, WentAway, Left], *UPCASTERS, GONE), context_of([LeftNow], package="toy.v2")]
)


class Log:
    """A log of four former events and one of today, and its EventService."""

    def __init__(self) -> None:
        self.store = MemoryEventStore()
        self.feed = Feed(self.store.log_id, 0)
        self.service = EventService(
            store=self.store, feed=self.feed, codec=CODEC, requests=RequestReader(max_bytes=10_000)
        )

    async def add(self, stream: str, message: Message, revision: int) -> None:
        data = message.SerializeToString() + UNKNOWN
        event = new_event(message.DESCRIPTOR.full_name, data=data, revision=revision)
        self.feed.publish(await append(self.store, stream, events=[event]))

    async def fill(self) -> None:
        await self.add("person-1", Moved(town="Bath"), 1)
        await self.add("person-1", WentAway(town="York"), 1)
        await self.add("person-1", Moved(city="Rome"), 2)
        await self.add("person-2", Left(town="Pisa"), 1)

    async def read(self, **wanted: list[str]) -> list[Any]:
        request = pb.ReadEventsRequest(filter=pb.EventFilter(**wanted))  # type: ignore[arg-type]
        answers = self.service.read_events(request.SerializeToString(), None)
        return [
            event async for answer in answers for event in pb.ReadEventsResponse.FromString(answer).events
        ]


@pytest.fixture
async def log() -> Log:
    found = Log()
    await found.fill()
    return found


TODAYS = [
    (1, "toy.v1.Moved", 2, "Bath"),
    (2, "toy.v1.Moved", 2, "York"),
    (3, "toy.v1.Moved", 2, "Rome"),
    (4, "toy.v2.Left", 1, "Pisa"),
]


def shown(events: list[Any]) -> list[tuple[int, str, int, str]]:
    """What matters of events as EventService sends them; each still has its unknown field."""
    found = []
    for event in events:
        name = event.event.type_url.removeprefix("type.googleapis.com/")
        message = {"toy.v1.Moved": Moved, "toy.v2.Left": LeftNow}[name].FromString(event.event.value)
        assert event.event.value.count(UNKNOWN) == 1
        found.append((event.position, name, event.revision, message.city))
    return found


# --- EventService --------------------------------------------------------------------------------


async def test_the_log_is_sent_in_todays_revisions(log: Log) -> None:
    assert shown(await log.read()) == TODAYS


async def test_a_stream_is_sent_in_todays_revisions(log: Log) -> None:
    request = pb.ReadStreamRequest(stream_name="person-1")
    [answer] = [a async for a in log.service.read_stream(request.SerializeToString(), None)]
    assert shown(list(pb.ReadStreamResponse.FromString(answer).events)) == TODAYS[:3]


async def test_a_subscription_gets_todays_revisions_from_memory_and_from_the_log(log: Log) -> None:
    for feed_knows in (True, False):
        if not feed_knows:
            log.feed = log.service._feed = Feed(log.store.log_id, 4)
        answers = log.service.subscribe(pb.SubscribeRequest().SerializeToString(), None)
        assert shown(list(pb.SubscribeResponse.FromString(await anext(answers)).events)) == TODAYS
        await answers.aclose()  # type: ignore[attr-defined]


async def test_bytes_in_todays_revision_are_sent_untouched(log: Log) -> None:
    [before] = await log.store.read_events(2, limit=1)
    assert from_proto((await log.read())[2]) == before


@pytest.mark.parametrize(
    ("wanted", "positions"),
    [
        ({"event_types": ["toy.v1.Moved"]}, [1, 2, 3]),
        ({"event_types": ["toy.v1.WentAway"]}, [1, 2, 3]),
        ({"event_types": ["toy.v2.Left"]}, [4]),
        ({"contexts": ["toy.v2"]}, [4]),
        ({"contexts": ["toy.v2"], "event_types": ["toy.v1.Moved"]}, []),
    ],
)
async def test_filters_find_former_types(
    log: Log, wanted: dict[str, list[str]], positions: list[int]
) -> None:
    assert [event.position for event in await log.read(**wanted)] == positions
    request = pb.SubscribeRequest(filter=pb.EventFilter(**wanted))  # type: ignore[arg-type]
    answers = log.service.subscribe(request.SerializeToString(), None)
    first = pb.SubscribeResponse.FromString(await anext(answers))
    assert [event.position for event in first.events] == positions
    await answers.aclose()  # type: ignore[attr-defined]


# --- aggregates ----------------------------------------------------------------------------------


async def test_an_aggregate_is_loaded_from_todays_events(log: Log) -> None:
    decider = Decider[tuple[str, ...]](
        category="person", initial_state=tuple, decide={}, evolve={Moved: lambda state, e: (*state, e.city)}
    )
    stream = await HotStreams(log.store, CODEC, capacity=10).load("person-1", decider)
    assert stream.state == ("Bath", "York", "Rome")


# --- projections ---------------------------------------------------------------------------------


class Base(MappedAsDataclass, DeclarativeBase):
    pass


class Home(Base, kw_only=True):
    __tablename__ = "homes"

    person: Mapped[str] = mapped_column(String(20), primary_key=True)
    cities: Mapped[str] = mapped_column(String(100), default="")


def lives_in(event: Event[Any], rows: Rows) -> None:
    home = rows.get(Home, event.aggregate_id)
    if home is None:
        home = Home(person=event.aggregate_id)
        rows.add(home)
    home.cities += f" {event.data.city}"
    assert event.data.SerializeToString().count(UNKNOWN) == 1


def homes(*types: type[Message]) -> Projection:
    return Projection(
        name="homes",
        tables=[Home],
        handlers=dict.fromkeys(types, lives_in),
        prefetch={Home: lambda event: event.aggregate_id},
    )


@pytest.fixture
async def folded(tmp_path: Path) -> AsyncIterator[Any]:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path}/read.db") as database:
        projection = homes(Moved, LeftNow)
        await database.write(lambda c: prepare(c, [projection]))
        fold = Fold(database=database, projection=projection, codec=CODEC)
        await fold.take_over("log")

        async def fold_all(events: list[RecordedEvent]) -> dict[str, str]:
            await fold.apply(events)
            rows = await database.read(lambda c: c.execute(select(Home.person, Home.cities)).all())
            return {person: cities.strip() for person, cities in rows}

        yield fold_all


async def test_a_projection_folds_stored_events_as_the_broker_brings_them(log: Log, folded: Any) -> None:
    brought = []
    for event in await log.store.read_events(0):
        lines = header_lines(event, source_of("log")).splitlines()
        brought.append(recorded_event(dict(line.split(": ", 1) for line in lines), event.data))
    assert await folded(brought) == {"1": "Bath York Rome", "2": "Pisa"}


async def test_a_projection_folds_events_as_event_service_sends_them(log: Log, folded: Any) -> None:
    assert await folded([from_proto(e) for e in await log.read()]) == {"1": "Bath York Rome", "2": "Pisa"}


@pytest.mark.parametrize("former", [WentAway, Left])
async def test_a_projection_that_handles_a_former_type_does_not_start(former: type[Message]) -> None:
    with pytest.raises(StartupError, match=r"projection homes handles toy\.v1\.\w+, which became toy\."):
        Fold(database=None, projection=homes(Moved, former), codec=CODEC)  # type: ignore[arg-type]
