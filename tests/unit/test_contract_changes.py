"""Which changes of a contract stored events suffer from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protos import messages
from twofold_server.messages.compatibility import Change, changes_between, removed_event
from twofold_server.messages.contract import EventContract
from twofold_server.messages.descriptors import EventDescriptors, describe_events

OPTION = "option (twofold.v1.event) = {revision: 2};"
BEFORE = """
message Placed {
  option (twofold.v1.event) = {revision: 2};
  string id = 1;
  int32 quantity = 2;
  repeated string tags = 3;
  Address address = 4;
  repeated Line lines = 5;
  map<string, Line> by_name = 6;
  Status status = 7;
  repeated Status past = 8;
  optional string note = 9;
  oneof payment { string card = 10; string cash = 11; }
  Tree tree = 12;
  google.type.Money price = 13;
  google.protobuf.Timestamp at = 14;
  map<string, int32> counts = 15;
}
message Address {
  string city = 1; string street = 2; Country country = 3;
  message Country { string code = 1; }
}
message Line { string product = 1; int32 quantity = 2; Status status = 3; }
message Tree { string name = 1; repeated Tree branches = 2; Fruit fruit = 3; }
message Fruit { string colour = 1; Tree seed = 2; }
enum Status { STATUS_UNSPECIFIED = 0; STATUS_OPEN = 1; STATUS_PAID = 2; STATUS_GONE = 3; }
"""
PLACED = "toy.v1.Placed"


def version(body: str) -> Mapping[str, EventContract]:
    """The events of a contract, as the log keeps them."""
    found = messages(body)
    events = [m for m in found.values() if "revision" in str(m.DESCRIPTOR.GetOptions())]
    return describe_events("toy.v1", events).events()


OLD = version(BEFORE)


def changed(*edits: tuple[str, str]) -> Mapping[str, EventContract]:
    body = BEFORE
    for old, new in edits:
        assert old in body, old
        body = body.replace(old, new, 1)
    return version(body)


def suffered(
    today: Mapping[str, EventContract], event: dict[str, Any] | None = None, revision: int = 2
) -> list[str]:
    """What is told to have broken one stored event."""
    message = ParseDict(event or {}, OLD[PLACED].message())
    return [change.what for change in changes_between(OLD, today) if change.hits(message, revision)]


FULL = {
    "id": "1",
    "quantity": 1,
    "tags": ["a"],
    "address": {"city": "Bath", "street": "High St", "country": {"code": "GB"}},
    "lines": [{"product": "tea"}, {"quantity": 2, "status": "STATUS_PAID"}],
    "byName": {"a": {"product": "tea"}, "b": {"quantity": 2}},
    "status": "STATUS_OPEN",
    "past": ["STATUS_OPEN", "STATUS_GONE"],
    "note": "",
    "card": "1234",
    "tree": {"name": "oak", "branches": [{}, {"branches": [{"fruit": {"colour": "red"}}]}]},
    "price": {"currencyCode": "EUR", "nanos": 5},
    "at": "2026-11-20T10:00:00Z",
    "counts": {"a": 1},
}

BREAKS: list[tuple[list[tuple[str, str]], str]] = [
    ([("  string id = 1;", "")], "field 1 (id) of toy.v1.Placed was removed"),
    ([("  string id = 1;", "  reserved 1;")], "field 1 (id) of toy.v1.Placed was removed"),
    ([("  Address address = 4;", "")], "field 4 (address) of toy.v1.Placed was removed"),
    ([("  repeated Line lines = 5;", "")], "field 5 (lines) of toy.v1.Placed was removed"),
    ([("  optional string note = 9;", "")], "field 9 (note) of toy.v1.Placed was removed"),
    ([("string card = 10; ", "")], "field 10 (card) of toy.v1.Placed was removed"),
    (
        [("int32 quantity = 2;", "string quantity = 2;")],
        "field 2 (quantity) of toy.v1.Placed changed from int32 to string",
    ),
    (
        [("int32 quantity = 2;", "int64 quantity = 2;")],
        "field 2 (quantity) of toy.v1.Placed changed from int32 to int64",
    ),
    (
        [("int32 quantity = 2;", "repeated int32 quantity = 2;")],
        "field 2 (quantity) of toy.v1.Placed changed from int32 to repeated int32",
    ),
    (
        [("repeated string tags", "string tags")],
        "field 3 (tags) of toy.v1.Placed changed from repeated string to string",
    ),
    (
        [("Address address", "bytes address")],
        "field 4 (address) of toy.v1.Placed changed from toy.v1.Address to bytes",
    ),
    (
        [("map<string, int32>", "map<string, int64>")],
        "field 15 (counts) of toy.v1.Placed changed from map<string, int32> to map<string, int64>",
    ),
    (
        [("map<string, Line>", "map<int32, Line>")],
        "field 6 (by_name) of toy.v1.Placed changed from map<string, toy.v1.Line> to map<int32, toy.v1.Line>",
    ),
    (
        [("Status status = 7;", "int32 status = 7;")],
        "field 7 (status) of toy.v1.Placed changed from toy.v1.Status to int32",
    ),
    (
        [("string id = 1;", "string id = 16;")],
        "field 1 (id) of toy.v1.Placed has number 16 now",
    ),
    # Places that events have inside of them.
    ([("string city = 1;", "")], "field 1 (address.city) of toy.v1.Placed was removed"),
    ([("string code = 1;", "")], "field 1 (address.country.code) of toy.v1.Placed was removed"),
    (
        [("string colour = 1;", "")],
        "field 1 (tree.fruit.colour) of toy.v1.Placed was removed",
    ),
    (
        [("repeated Tree branches = 2;", "")],
        "field 2 (tree.branches) of toy.v1.Placed was removed",
    ),
    # Values of enums.
    (
        [("STATUS_OPEN = 1; ", "")],
        "value 1 (STATUS_OPEN) of field 7 (status) of toy.v1.Placed was removed",
    ),
    (
        [("STATUS_GONE = 3;", "")],
        "value 3 (STATUS_GONE) of field 8 (past) of toy.v1.Placed was removed",
    ),
]


@pytest.mark.parametrize(("edits", "told"), BREAKS, ids=[told for _, told in BREAKS])
def test_an_event_that_carries_what_changed_suffers(edits: list[tuple[str, str]], told: str) -> None:
    today = changed(*edits)
    assert told in suffered(today, FULL)


@pytest.mark.parametrize(("edits", "told"), BREAKS, ids=[told for _, told in BREAKS])
def test_an_event_that_does_not_carry_it_does_not(edits: list[tuple[str, str]], told: str) -> None:
    assert suffered(changed(*edits)) == []


def test_each_place_of_a_type_is_told_by_itself() -> None:
    today = changed(("string product = 1;", ""), ("Status status = 3;", ""))
    assert suffered(today, FULL) == [
        "field 1 (lines.product) of toy.v1.Placed was removed",
        "field 3 (lines.status) of toy.v1.Placed was removed",
        "field 1 (by_name.product) of toy.v1.Placed was removed",
    ]


def test_values_that_changed_places_are_told() -> None:
    swapped = changed(("STATUS_OPEN = 1; STATUS_PAID = 2;", "STATUS_OPEN = 2; STATUS_PAID = 1;"))
    assert suffered(swapped, {"status": "STATUS_OPEN", "lines": [{"status": "STATUS_PAID"}]}) == [
        "value 2 (STATUS_PAID) of field 3 (lines.status) of toy.v1.Placed has number 1 now",
        "value 1 (STATUS_OPEN) of field 7 (status) of toy.v1.Placed has number 2 now",
    ]


def test_fields_that_changed_places_are_told() -> None:
    swapped = changed(("string city = 1; string street = 2;", "string city = 2; string street = 1;"))
    assert suffered(swapped, {"address": {"city": "Bath"}}) == [
        "field 1 (address.city) of toy.v1.Placed has number 2 now"
    ]


def test_fields_that_became_alternatives_lose_one_where_both_are_carried() -> None:
    today = changed(("string id = 1;", ""), ("oneof payment {", "oneof payment { string id = 1;"))
    told = "fields 1 (id), 10 (card), 11 (cash) of toy.v1.Placed are alternatives now (oneof payment)"
    assert suffered(today, {"id": "1", "cash": "coins"}) == [told]
    assert suffered(today, {"id": "1"}) == []
    assert suffered(today, {"card": "1234"}) == []


HARMLESS: list[list[tuple[str, str]]] = [
    [],
    [("string id = 1;", "string id = 1; string added = 16; Address other = 17;")],
    [("message Address {", "message Address { string added = 16;")],
    [("STATUS_GONE = 3;", "STATUS_GONE = 3; STATUS_ADDED = 4;")],
    [("string id = 1;", "string order_id = 1;")],
    [("STATUS_OPEN = 1;", "STATUS_WAITING = 1;")],
    [("message Address", "message Home"), ("Address address", "Home address")],
    [("enum Status", "enum State"), *[("Status ", "State ")] * 3],
    [("oneof payment { string card = 10; string cash = 11; }", "string card = 10; string cash = 11;")],
    [("string id = 1;", "optional string id = 1;"), ("optional string note", "string note")],
    [("string id = 1;", "string id = 1 [deprecated = true, json_name = 'key'];")],
    [("{revision: 2}", "{revision: 3}")],
    [("message Address", "message Unused {}\nmessage Address")],
]


@pytest.mark.parametrize("edits", HARMLESS, ids=str)
def test_what_every_stored_event_survives_is_no_break(edits: list[tuple[str, str]]) -> None:
    today = changed(*edits)
    assert suffered(today, FULL, revision=1) == []
    assert suffered(today, FULL, revision=2) == []


def test_an_event_type_that_is_gone_is_told() -> None:
    told = "event toy.v1.Placed was removed, and no upcaster leads away from it"
    assert suffered({}) == [told]
    assert suffered(
        changed((OPTION, ""), ("message Placed", f"message Other {{ {OPTION} }} message Placed"))
    ) == [told]
    assert removed_event(PLACED, renamed_to="toy.v2.Placed").what == (
        "event toy.v1.Placed was renamed to toy.v2.Placed with its package, and no upcaster leads away from "
        "it"
    )


def test_a_revision_that_went_back_hits_events_of_later_ones() -> None:
    today = changed(("{revision: 2}", "{revision: 1}"))
    assert suffered(today, FULL, revision=2) == ["event toy.v1.Placed went back from revision 2 to 1"]
    assert suffered(today, FULL, revision=1) == []


# --- what is kept --------------------------------------------------------------------------------


def kept(body: str) -> EventDescriptors:
    return describe_events("toy.v1", [messages(body)["Placed"]])


def test_descriptors_differ_only_where_events_do() -> None:
    before = kept(BEFORE)
    same = [
        BEFORE + "message CreateOrder { string id = 1; }",
        BEFORE.replace("string id = 1;", "// What it is.\n string id = 1 [deprecated = true];"),
        BEFORE.replace("string id = 1;", "string id = 1; reserved 99;"),
        "message First {}" + BEFORE,
    ]
    other = [
        BEFORE.replace("string id = 1;", "string key = 1;"),
        BEFORE.replace("string code = 1;", "string code = 2;"),
        BEFORE.replace("{revision: 2}", "{revision: 3}"),
        BEFORE.replace("STATUS_GONE = 3;", ""),
    ]
    assert {kept(body).hash for body in same} == {before.hash}
    assert before.hash not in {kept(body).hash for body in other}


def test_kept_descriptors_describe_themselves() -> None:
    before = kept(BEFORE)
    again = describe_events("toy.v1", [event.message for event in before.events().values()])
    assert again == before
    assert [(e.type_name, e.revision) for e in before.events().values()] == [(PLACED, 2)]


LINES = [line for line in BEFORE.splitlines() if " = " in line and ";" in line and "option" not in line]


@given(st.sets(st.sampled_from(LINES)))
@settings(deadline=None, max_examples=40)
def test_whatever_lines_are_removed_the_full_event_suffers_and_the_empty_one_does_not(
    lines: set[str],
) -> None:
    body = "\n".join(
        line for line in BEFORE.splitlines() if line not in lines or "message" in line or "enum" in line
    )
    today = version(body)
    gone = [line for line in lines if "message" not in line and "enum" not in line]
    assert bool(suffered(today, FULL)) == bool(gone)
    assert suffered(today) == []


def kinds(today: Mapping[str, EventContract]) -> set[str]:
    changes: list[Change] = list(changes_between(OLD, today))
    return {change.kind for change in changes}


def test_kinds_are_stable_names_for_scripts() -> None:
    assert kinds({}) == {"REMOVED_EVENT"}
    assert kinds(changed(("string id = 1;", ""))) == {"REMOVED_FIELD"}
    assert kinds(changed(("string id = 1;", "int32 id = 1;"))) == {"CHANGED_FIELD"}
    assert kinds(changed(("string id = 1;", "string id = 16;"))) == {"MOVED_FIELD"}
    assert kinds(changed(("STATUS_GONE = 3;", ""))) == {"REMOVED_VALUE"}
    assert kinds(changed(("STATUS_GONE = 3;", "STATUS_GONE = 4;"))) == {"MOVED_VALUE"}
    assert kinds(changed(("{revision: 2}", "{revision: 1}"))) == {"LOWERED_REVISION"}
