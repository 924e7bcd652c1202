"""What is on the wire to NATS: names that other languages rely on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import EventMetadata
from twofold_server.publishing.headers import header_lines, published_position, recorded_event, source_of
from twofold_server.publishing.subjects import subject_of

EVENT = RecordedEvent(
    position=42,
    stream_name="order-0192f3a0",
    stream_version=3,
    event_id="2c4f17a8-5d67-4d6c-a1b2-0011223344aa",
    type_name="shop.orders.v1.OrderPaid",
    revision=1,
    data=b"\x0a\x01x",
    metadata=EventMetadata(
        "c-1", "r-1", "Zoë 100%", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ),
    recorded_at=1_795_170_405_104_123,
)


def parsed(lines: str) -> dict[str, str]:
    """The headers as a NATS client reads them."""
    assert lines.isascii()
    assert lines.endswith("\r\n")
    return dict(line.split(": ", 1) for line in lines.removesuffix("\r\n").split("\r\n"))


def test_the_headers_are_cloudevents_in_binary_mode() -> None:
    assert parsed(header_lines(EVENT, source_of("log-1"))) == {
        "Nats-Msg-Id": "2c4f17a8-5d67-4d6c-a1b2-0011223344aa",
        "ce-specversion": "1.0",
        "ce-id": "2c4f17a8-5d67-4d6c-a1b2-0011223344aa",
        "ce-type": "shop.orders.v1.OrderPaid",
        "ce-source": "/twofold/log-1",
        "ce-subject": "order-0192f3a0",
        "ce-time": "2026-11-20T10:26:45.104123Z",
        "ce-datacontenttype": "application/protobuf",
        "ce-position": "42",
        "ce-streamversion": "3",
        "ce-revision": "1",
        "ce-correlationid": "c-1",
        "ce-causationid": "r-1",
        "ce-actor": "Zo%C3%AB%20100%25",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }


def test_what_is_unknown_has_no_header() -> None:
    names = parsed(header_lines(replace(EVENT, metadata=EventMetadata()), "/twofold/x")).keys()
    assert names.isdisjoint({"ce-correlationid", "ce-causationid", "ce-actor", "traceparent"})


any_text = st.text(st.characters(exclude_categories=["Cs"]))


@given(stream_name=any_text, actor=any_text, correlation_id=any_text, data=st.binary())
def test_an_event_comes_back_as_it_was(
    stream_name: str, actor: str, correlation_id: str, data: bytes
) -> None:
    metadata = EventMetadata(correlation_id, "r-1", actor, "")
    event = replace(EVENT, stream_name=stream_name, metadata=metadata, data=data)
    assert recorded_event(parsed(header_lines(event, "/twofold/x")), data) == event


@given(microseconds=st.integers(0, 253_402_300_799_999_999))
def test_a_time_comes_back_to_the_microsecond(microseconds: int) -> None:
    event = replace(EVENT, recorded_at=microseconds)
    assert recorded_event(parsed(header_lines(event, "/twofold/x")), event.data) == event


@pytest.mark.parametrize(
    "change",
    [
        {"ce-position": "many"},
        {"ce-position": ""},
        {"ce-time": "yesterday"},
        {"ce-subject": "%ff"},
        {"ce-dataref": "/twofold/x/42"},
    ],
)
def test_a_message_that_is_no_whole_event_is_none(change: dict[str, str]) -> None:
    assert recorded_event({**parsed(header_lines(EVENT, "/twofold/x")), **change}, b"") is None


def test_a_message_without_headers_is_no_event() -> None:
    assert recorded_event(None, b"") is None
    assert published_position(None) is None
    assert published_position({"ce-position": "²"}) is None
    assert published_position({"ce-position": "42"}) == 42


@pytest.mark.parametrize(
    ("stream_name", "type_name", "subject"),
    [
        ("order-1", "shop.orders.v1.OrderPaid", "twofold.events.15.shop-orders-v1.OrderPaid"),
        ("order-2", "shop.orders.v1.OrderPaid", "twofold.events.5.shop-orders-v1.OrderPaid"),
        ("a b.*>", "acme_x.v1.Moved", "twofold.events.9.acme_x-v1.Moved"),
        ("order-1", "Bare", "twofold.events.15.-.Bare"),
    ],
)
def test_the_subject_is_partition_context_and_name(stream_name: str, type_name: str, subject: str) -> None:
    assert subject_of(replace(EVENT, stream_name=stream_name, type_name=type_name)) == subject
