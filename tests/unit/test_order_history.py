"""What the history of an order tells."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.query_service_pb2 import GetOrderHistoryRequest, GetOrderHistoryResponse
from shop_contexts.orders.history import get_order_history, summaries
from shop_contexts.orders.views import changes
from tests.order_histories import START, History, euros, folded, item, order_codec
from twofold_server.errors import InvalidRequest, NotFound
from twofold_server.messages.events import time_of
from twofold_server.modelling import Event

CODEC = order_codec()


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def order_id(history: History) -> str:
    """An order that was bought, changed, paid and sent."""
    order_id = history.created(items=[item("tea", 2, "3.50"), item("pot", 1, "20")])
    history.add(facts.OrderItemAdded(order_id=order_id, product_id="cup", quantity=4, unit_price=euros("1")))
    history.add(facts.OrderItemQuantityChanged(order_id=order_id, product_id="tea", quantity=1))
    history.add(facts.OrderItemRemoved(order_id=order_id, product_id="pot"))
    history.paid(order_id)
    history.shipped(order_id)
    history.add(facts.OrderCompleted(order_id=order_id))
    return order_id


def told(history: History, order_id: str, **fields: Any) -> GetOrderHistoryResponse:
    events = [
        Event(
            CODEC.decode(event),
            event.position,
            event.stream_name,
            event.stream_version,
            event.event_id,
            time_of(event.recorded_at),
            event.metadata,
        )
        for event in history.events
        if event.stream_name == f"order-{order_id}"
    ]
    return get_order_history(GetOrderHistoryRequest(order_id=order_id, **fields), events)


def at(microseconds: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(microseconds)
    return moment


def test_each_event_is_told_in_words(history: History, order_id: str) -> None:
    assert [event.summary for event in told(history, order_id).events] == [
        "created by customer ada with 2 products for 27.00 EUR",
        "4 of cup added at 1.00 EUR each",
        "quantity of tea set to 1",
        "pot removed",
        "paid 7.00 EUR with pay-1",
        "shipped with post, number 1",
        "completed",
    ]


def test_every_event_that_changes_an_order_has_words() -> None:
    assert summaries.keys() == changes.keys()


def test_it_says_when_by_whom_and_why(history: History, order_id: str) -> None:
    event, stored = told(history, order_id).events[4], history.events[4]
    assert (event.version, event.position, event.event_id) == (5, 5, stored.event_id)
    assert (event.actor, event.correlation_id, event.causation_id) == ("ada", "conversation", "request")
    assert event.time == at(stored.recorded_at)
    fact = facts.OrderPaid()
    assert event.event.Unpack(fact)
    assert fact.payment_reference == "pay-1"


@pytest.mark.parametrize("version", range(1, 8))
def test_the_order_is_shown_as_of_a_version(history: History, order_id: str, version: int) -> None:
    found = told(history, order_id, version=version)
    assert found.order == folded(history.events[:version])[order_id]
    assert len(found.events) == found.total_size == version


def test_the_order_is_shown_as_of_a_moment(history: History, order_id: str) -> None:
    for version in range(1, 8):
        exactly = history.events[version - 1].recorded_at
        assert told(history, order_id, time=at(exactly)).order.version == version
        assert told(history, order_id, time=at(exactly + 999_999)).order.version == version
    assert told(history, order_id, time=at(START * 2)).order.version == 7


def test_pages_meet_and_each_shows_the_order_after_the_last_event(history: History, order_id: str) -> None:
    seen, token = [], ""
    while True:
        page = told(history, order_id, page_size=3, page_token=token)
        assert page.order.version == page.total_size == 7
        seen += [event.version for event in page.events]
        token = page.next_page_token
        if not token:
            break
    assert seen == list(range(1, 8))
    assert [event.version for event in told(history, order_id, skip=5, page_size=1).events] == [6]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [({"version": 8}, "ORDER_VERSION_NOT_FOUND"), ({"time": at(START)}, "ORDER_NOT_FOUND")],
)
def test_what_was_not_yet_is_not_found(
    history: History, order_id: str, asked: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NotFound) as missing:
        told(history, order_id, **asked)
    assert missing.value.reason == reason


@pytest.mark.parametrize("asked", [{}, {"version": 1}, {"time": at(START)}])
def test_an_order_that_never_was_is_not_found(history: History, asked: dict[str, Any]) -> None:
    with pytest.raises(NotFound) as missing:
        told(history, "nobody", **asked)
    assert missing.value.reason == "ORDER_NOT_FOUND"


def test_a_token_of_another_moment_is_refused(history: History, order_id: str) -> None:
    token = told(history, order_id, page_size=1).next_page_token
    with pytest.raises(InvalidRequest, match="another query"):
        told(history, order_id, page_token=token, version=3)
