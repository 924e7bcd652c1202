"""Events of former revisions and types are read in today's revision of today's type."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from tests.protos import context_of, messages
from twofold_server.errors import Unavailable
from twofold_server.event_store.events import RecordedEvent
from twofold_server.messages.events import EventCodec
from twofold_server.messages.upcasting import UpcastFailed
from twofold_server.modelling import EventMetadata, Upcaster

UNKNOWN = b"\xfa\x01\x04kept"
"""Field 31, a text that no contract here knows."""

TYPES = messages("""
message Registered {
  option (twofold.v1.event) = {revision: 3};
  string full_name = 1 [deprecated = true];
  string first_name = 2;
  string last_name = 3;
  string country = 4;
}
message Moved {
  option (twofold.v1.event) = {revision: 1};
  string city = 1;
}
message WentAway {
  option (twofold.v1.event) = {revision: 2};
  string town = 1;
  string place = 2;
}
message Value { string text = 1; }
""")
Registered, Moved, WentAway = TYPES["Registered"], TYPES["Moved"], TYPES["WentAway"]


def in_two_names(old: Any) -> Message:
    old.first_name, _, old.last_name = old.full_name.partition(" ")
    old.ClearField("full_name")
    return old  # type: ignore[no-any-return]


def with_country(old: Any) -> Message:
    return Registered(first_name=old.first_name, last_name=old.last_name, country="GB")


def town_is_place(old: Any) -> Message:
    return WentAway(place=old.town)


def moved(old: Any) -> Message:
    return Moved(city=old.place)


FIRST = Upcaster(event=Registered, revision=1, upcast=in_two_names)
SECOND = Upcaster(event=Registered, revision=2, upcast=with_country)
AWAY = Upcaster(event=WentAway, revision=1, upcast=town_is_place)
RENAMED = Upcaster(event=WentAway, revision=2, upcast=moved, into=Moved)
CODEC = EventCodec([context_of([Registered, Moved, WentAway], FIRST, SECOND, AWAY, RENAMED)])


def stored(message: Message, revision: int, *, extra: bytes = b"") -> RecordedEvent:
    name, data = message.DESCRIPTOR.full_name, message.SerializeToString() + extra
    return RecordedEvent(7, "toy-1", 1, "id", name, revision, data, EventMetadata(actor="ada"), 9)


def unknown_fields(message: Message) -> list[tuple[int, Any]]:
    found = UnknownFieldSet(message)
    return [(found[n].field_number, found[n].data) for n in range(len(found))]


# --- decoding ------------------------------------------------------------------------------------


def test_an_event_in_todays_revision_is_read_as_it_is() -> None:
    event = Registered(first_name="Ada", full_name="left alone")
    assert CODEC.decode(stored(event, 3)) == event


def test_an_event_passes_through_every_revision_since() -> None:
    assert CODEC.decode(stored(Registered(full_name="Ada Lovelace"), 1)) == Registered(
        first_name="Ada", last_name="Lovelace", country="GB"
    )
    assert CODEC.decode(stored(Registered(first_name="Ada"), 2)) == Registered(first_name="Ada", country="GB")


def test_an_event_of_a_former_type_is_read_as_what_that_became() -> None:
    assert CODEC.decode(stored(WentAway(town="Bath"), 1)) == Moved(city="Bath")
    assert CODEC.decode(stored(WentAway(place="Bath"), 2)) == Moved(city="Bath")
    assert CODEC.decode(stored(Moved(city="Bath"), 1)) == Moved(city="Bath")


def test_reading_an_event_twice_gives_the_same_twice() -> None:
    event = stored(Registered(full_name="Ada Lovelace"), 1)
    assert CODEC.decode(event) == CODEC.decode(event)


def test_a_type_that_nobody_declares_is_a_key_error() -> None:
    with pytest.raises(KeyError, match=r"toy\.v1\.Value"):
        CODEC.decode(stored(TYPES["Value"](), 1))


@pytest.mark.parametrize(("event", "revision"), [(Registered(), 4), (WentAway(), 3), (Moved(), 2)])
def test_a_revision_from_the_future_waits_for_the_version_that_knows_it(
    event: Message, revision: int
) -> None:
    with pytest.raises(Unavailable, match=f"revision {revision}, and this version knows") as caught:
        CODEC.decode(stored(event, revision))
    assert caught.value.reason == "EVENT_TOO_NEW"


# --- unknown fields ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "revision"),
    [(Registered(), 3), (Registered(), 2), (Registered(), 1), (WentAway(), 1), (WentAway(), 2), (Moved(), 1)],
)
def test_unknown_fields_survive_every_step_once(event: Message, revision: int) -> None:
    old = stored(event, revision, extra=UNKNOWN)
    assert unknown_fields(CODEC.decode(old)) == [(31, b"kept")]
    [renewed] = CODEC.newest([old])
    assert renewed.data.count(UNKNOWN) == 1


def test_an_unknown_field_is_not_taken_for_a_field_of_the_new_type() -> None:
    types = messages("""
    message Old { option (twofold.v1.event) = {revision: 1}; string a = 1; }
    message New { option (twofold.v1.event) = {revision: 1}; string a = 1; string b = 2; int32 c = 3; }
    """)
    rename = Upcaster(event=types["Old"], revision=1, upcast=lambda _: types["New"](a="a"), into=types["New"])
    codec = EventCodec([context_of(list(types.values()), rename)])
    message = codec.decode(stored(types["Old"](), 1, extra=b"\x12\x05other\x18\x07" + UNKNOWN))
    assert message.SerializeToString() == types["New"](a="a").SerializeToString() + UNKNOWN


def test_what_an_upcaster_discards_is_gone() -> None:
    def discard(old: Message) -> Message:
        old.DiscardUnknownFields()
        return old

    upcasters = [Upcaster(event=Registered, revision=n, upcast=discard) for n in (1, 2)]
    codec = EventCodec([context_of([Registered], *upcasters)])
    assert unknown_fields(codec.decode(stored(Registered(), 1, extra=UNKNOWN))) == []


# --- encoding again ------------------------------------------------------------------------------


def test_old_events_are_encoded_anew_and_todays_stay_untouched() -> None:
    today, old = stored(Moved(city="Bath"), 1), stored(WentAway(town="Bath"), 1)
    untouched, renewed = CODEC.newest([today, old])
    assert untouched is today
    assert (renewed.type_name, renewed.revision) == ("toy.v1.Moved", 1)
    assert Moved.FromString(renewed.data) == Moved(city="Bath")
    assert (renewed.position, renewed.stream_name, renewed.stream_version) == (7, "toy-1", 1)
    assert (renewed.event_id, renewed.metadata, renewed.recorded_at) == ("id", EventMetadata(actor="ada"), 9)
    assert CODEC.newest([renewed]) == [renewed]


def test_what_cannot_be_read_is_passed_on_as_it_is() -> None:
    strange = [stored(TYPES["Value"](text="a"), 1), stored(Moved(), 9)]
    assert all(a is b for a, b in zip(CODEC.newest(strange), strange, strict=True))


def test_without_upcasters_nothing_is_looked_at() -> None:
    events = [stored(Moved(), 1)]
    assert EventCodec([context_of([Moved])]).newest(events) is events


# --- names ---------------------------------------------------------------------------------------


def test_events_are_found_under_their_newest_name_and_under_their_former_one() -> None:
    both = {"toy.v1.Moved", "toy.v1.WentAway"}
    assert CODEC.stored_names(["toy.v1.Moved"]) == both
    assert CODEC.stored_names(["toy.v1.WentAway"]) == both
    assert CODEC.stored_names(["toy.v1.Registered"]) == {"toy.v1.Registered"}
    assert CODEC.stored_names(["toy.v1.Unheard"]) == {"toy.v1.Unheard"}
    assert CODEC.stored_names([]) == frozenset()
    assert CODEC.newest_name("toy.v1.WentAway") == "toy.v1.Moved"


def test_former_types_are_known_and_not_written_any_more() -> None:
    assert CODEC.knows("toy.v1.WentAway")
    assert not CODEC.knows("toy.v1.Value")
    assert CODEC.revision_of(Registered()) == 3
    with pytest.raises(KeyError):
        CODEC.revision_of(WentAway())


def test_events_of_a_package_that_was_renamed_belong_to_the_new_one() -> None:
    new = messages(
        "message Moved { option (twofold.v1.event) = {revision: 1}; string city = 1; }", package="toy.v2"
    )["Moved"]
    upcaster = Upcaster(event=Moved, revision=1, upcast=lambda old: new(city=old.city), into=new)
    codec = EventCodec([context_of([new], upcaster, package="toy.v2")])
    [renewed] = codec.newest([stored(Moved(city="Bath"), 1)])
    assert renewed.type_name == "toy.v2.Moved"
    assert codec.moved_into(["toy.v2"]) == {"toy.v1.Moved"}
    assert codec.moved_into(["toy.v1"]) == frozenset()
    assert codec.stored_names(["toy.v2.Moved"]) == {"toy.v1.Moved", "toy.v2.Moved"}


# --- mistakes in an upcaster ---------------------------------------------------------------------


def failing(upcast: Any) -> EventCodec:
    return EventCodec(
        [context_of([Registered], FIRST, Upcaster(event=Registered, revision=2, upcast=upcast))]
    )


def test_an_upcaster_that_fails_is_named() -> None:
    with pytest.raises(UpcastFailed, match=r"upcaster of toy\.v1\.Registered revision 2 failed: ZeroDivis"):
        failing(lambda _: 1 / 0).decode(stored(Registered(), 2))


@pytest.mark.parametrize("result", [None, Moved()])
def test_an_upcaster_that_returns_something_else_is_named(result: object) -> None:
    with pytest.raises(UpcastFailed, match=r"revision 2 returned \w+, not toy\.v1\.Registered"):
        failing(lambda _: result).decode(stored(Registered(), 1))
