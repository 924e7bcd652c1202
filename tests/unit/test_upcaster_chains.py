"""Every revision that may be stored leads to today's, or the server does not start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protos import context_of, messages
from twofold.v1 import options_pb2
from twofold_server.errors import StartupError
from twofold_server.event_store.events import RecordedEvent
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import EventMetadata, Upcaster

TYPES = messages("""
message One { option (twofold.v1.event) = {revision: 1}; }
message Two { option (twofold.v1.event) = {revision: 2}; }
message Three { option (twofold.v1.event) = {revision: 3}; }
message Plain {}
""")
One, Two, Three, Plain = (TYPES[name] for name in ("One", "Two", "Three", "Plain"))


def step(event: type[Message], revision: int, **how: Any) -> Upcaster:
    return Upcaster(event=event, revision=revision, upcast=lambda old: old, **how)


WRONG: list[tuple[str, Sequence[type[Message]], Sequence[Upcaster]]] = [
    ("event toy.v1.Two is at revision 2, but nothing reads its revision 1;", [Two], []),
    (
        "event toy.v1.Three is at revision 3, but nothing reads its revision 2;",
        [Three],
        [step(Three, 1)],
    ),
    (
        "event toy.v1.Three is at revision 3, but nothing reads its revision 1;",
        [Three],
        [step(Three, 2)],
    ),
    ("upcaster of toy.v1.Two revision 1 is there twice", [Two], [step(Two, 1), step(Two, 1)]),
    ("nothing needs the upcaster of toy.v1.One revision 1:", [One], [step(One, 1)]),
    ("nothing needs the upcaster of toy.v1.Two revision 2:", [Two], [step(Two, 1), step(Two, 2)]),
    ("nothing needs the upcaster of toy.v1.Two revision 0:", [Two], [step(Two, 0), step(Two, 1)]),
    ("nothing needs the upcaster of toy.v1.One revision 2:", [One], [step(One, 2, into=Two)]),
    ("toy.v1.Plain has an upcaster, but lacks the option", [One], [step(Plain, 1, into=One)]),
    ("toy.v1.One becomes toy.v1.Plain, which is no event", [One], [step(One, 1, into=Plain)]),
    (
        "toy.v1.Two becomes another type at revision 1, but goes on to revision 2;",
        [One, Two],
        [step(Two, 1, into=One)],
    ),
    (
        "toy.v1.One becomes toy.v1.Two, which has 2 revisions; say with `into_revision`",
        [One, Two],
        [step(One, 1, into=Two), step(Two, 1)],
    ),
    (
        "toy.v1.One becomes toy.v1.Two revision 3, which does not exist",
        [One, Two],
        [step(One, 1, into=Two, into_revision=3), step(Two, 1)],
    ),
    ("has `into_revision` without `into`", [Two], [step(Two, 1, into_revision=2)]),
    (
        "upcaster of toy.v1.One revision 1 leads to toy.v1.Three, which no loaded context declares",
        [One],
        [step(One, 1, into=Three, into_revision=3)],
    ),
    (
        "leads back to itself",
        [One, Two],
        [step(One, 1, into=Two, into_revision=2), step(Two, 1), step(Two, 2, into=One)],
    ),
]


@pytest.mark.parametrize(("why", "types", "upcasters"), WRONG, ids=[why for why, _, _ in WRONG])
def test_a_wrong_chain_stops_the_start_with_one_line(
    why: str, types: Sequence[type[Message]], upcasters: Sequence[Upcaster]
) -> None:
    with pytest.raises(StartupError) as caught:
        EventCodec([context_of(types, *upcasters)])
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_upcaster_is_listed_in_the_context_of_its_event() -> None:
    home = context_of([Two])
    stranger = replace(context_of([]), package="other.v1", upcasters=(step(Two, 1),))
    with pytest.raises(StartupError, match=r"listed in other\.v1; move it to the context toy\.v1"):
        EventCodec([home, stranger])


def test_a_type_may_join_a_later_revision_of_another_one() -> None:
    EventCodec([context_of([One, Two], step(One, 1, into=Two, into_revision=2), step(Two, 1))])
    EventCodec([context_of([One, Two], step(One, 1, into=Two, into_revision=1), step(Two, 1))])


# --- any right set of chains ---------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A type: its revisions, and the later type and revision that it became, if any."""

    revisions: int
    became: tuple[int, int] | None


@st.composite
def kinds(draw: st.DrawFn) -> list[Kind]:
    """Some types; each may have become one that comes after it, at any of that one's revisions."""
    revisions = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    found = []
    for n, count in enumerate(revisions):
        later = [(m, r) for m in range(n + 1, len(revisions)) for r in range(1, revisions[m] + 1)]
        found.append(Kind(count, draw(st.none() | st.sampled_from(later)) if later else None))
    return found


def classes(found: Sequence[Kind]) -> list[type[Any]]:
    """A message class for each: the places that an event passed, as texts."""
    file = FileDescriptorProto(name="chains.proto", package="toy.v1", syntax="proto3")
    for n, kind in enumerate(found):
        message = file.message_type.add(name=f"E{n}")
        message.options.Extensions[options_pb2.event].revision = kind.revisions
        message.field.add(
            name="passed",
            number=1,
            type=FieldDescriptorProto.TYPE_STRING,
            label=FieldDescriptorProto.LABEL_REPEATED,
        )
    pool = DescriptorPool()
    pool.Add(file)
    return [GetMessageClass(pool.FindMessageTypeByName(f"toy.v1.E{n}")) for n in range(len(found))]


def upcaster(n: int, revision: int, kind: Kind, types: Sequence[type[Any]]) -> Upcaster:
    leaves = revision == kind.revisions and kind.became is not None
    target, into_revision = kind.became if leaves and kind.became else (n, None)

    def upcast(old: Any) -> Message:
        new: Message = types[target](passed=[*old.passed, f"{n}.{revision}"])
        return new

    into = types[target] if leaves else None
    return Upcaster(event=types[n], revision=revision, upcast=upcast, into=into, into_revision=into_revision)


def upcasters_of(found: Sequence[Kind], types: Sequence[type[Any]]) -> list[Upcaster]:
    return [
        upcaster(n, revision, kind, types)
        for n, kind in enumerate(found)
        for revision in range(1, kind.revisions + (kind.became is not None))
    ]


def way(found: Sequence[Kind], n: int, revision: int) -> tuple[list[str], int]:
    """The places that an event passes, and the type in which it ends."""
    passed = []
    while True:
        kind = found[n]
        if revision < kind.revisions:
            passed.append(f"{n}.{revision}")
            revision += 1
        elif kind.became is not None:
            passed.append(f"{n}.{revision}")
            n, revision = kind.became
        else:
            return passed, n


def stored(event_type: type[Message], revision: int) -> RecordedEvent:
    data = event_type().SerializeToString() + b"\xf8\x01\x05"
    return RecordedEvent(1, "e-1", 1, "", event_type.DESCRIPTOR.full_name, revision, data, EventMetadata(), 0)


@given(kinds())
@settings(deadline=None)
def test_any_chain_leads_to_todays_type(found: list[Kind]) -> None:
    types = classes(found)
    codec = EventCodec([context_of(types, *upcasters_of(found, types))])
    for n, kind in enumerate(found):
        for revision in range(1, kind.revisions + 1):
            passed, end = way(found, n, revision)
            event = stored(types[n], revision)
            message: Any = codec.decode(event)
            assert type(message) is types[end]
            assert list(message.passed) == passed
            assert message.SerializeToString().endswith(b"\xf8\x01\x05")
            [renewed] = codec.newest([event])
            assert renewed.revision == codec.revision_of(message) == found[end].revisions
            assert codec.decode(renewed) == message
            assert types[n].DESCRIPTOR.full_name in codec.stored_names([types[end].DESCRIPTOR.full_name])


@given(kinds(), st.data())
@settings(deadline=None)
def test_no_upcaster_can_be_missing(found: list[Kind], data: st.DataObject) -> None:
    types = classes(found)
    upcasters = upcasters_of(found, types)
    needed = [u for u in upcasters if u.into is None]  # without the others a type is still today's
    if needed:
        upcasters.remove(data.draw(st.sampled_from(needed)))
        with pytest.raises(StartupError, match="nothing reads its revision"):
            EventCodec([context_of(types, *upcasters)])
