"""Pages: a token goes on where the page before ended, and belongs to its query."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.orders.v1.query_service_pb2 import ListCustomerOrdersRequest
from shop.orders.v1.values_pb2 import OrderStatus
from twofold.v1.reading_pb2 import ReadOptions
from twofold.v1.tokens_pb2 import PageToken
from twofold_server.errors import InvalidRequest
from twofold_server.modelling import page_of


def request(**fields: Any) -> ListCustomerOrdersRequest:
    return ListCustomerOrdersRequest(**{"customer_id": "ada", **fields})


def token(*keys: str, **fields: Any) -> str:
    return page_of(request(**fields)).next_token(keys)


@pytest.mark.parametrize(
    ("asked", "given_size"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
def test_the_size_of_a_page_has_a_default_and_a_bound(asked: int, given_size: int) -> None:
    assert page_of(request(page_size=asked)).size == given_size


def test_the_first_page_comes_after_nothing() -> None:
    page = page_of(request(skip=7))
    assert (page.after, page.skip) == ((), 7)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_the_next_page_comes_after_the_keys_of_the_last_row(keys: list[str]) -> None:
    assert page_of(request(page_token=token(*keys))).after == tuple(keys)


def test_a_token_may_come_with_another_size_skip_and_freshness() -> None:
    first = token("key", page_size=10)
    options = ReadOptions(consistency_token="abc")
    assert page_of(request(page_token=first, page_size=99, skip=3, read_options=options)).after == ("key",)


@pytest.mark.parametrize(
    "other",
    [request(customer_id="bob"), request(status=OrderStatus.ORDER_STATUS_PAID)],
    ids=["another customer", "another status"],
)
def test_a_token_of_another_query_is_refused(other: ListCustomerOrdersRequest) -> None:
    other.page_token = token("key")
    with pytest.raises(InvalidRequest, match="belongs to another query") as refusal:
        page_of(other)
    assert refusal.value.reason == "INVALID_PAGE_TOKEN"
    assert [field for field, _ in refusal.value.violations] == ["page_token"]


def without_keys() -> str:
    raw = PageToken(query_hash=page_of(request()).query_hash).SerializeToString()
    return base64.urlsafe_b64encode(raw).decode()


@pytest.mark.parametrize("text", ["1", "!!!", "ä", "Zm9v", "next", without_keys()])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        page_of(request(page_token=text))
    assert refusal.value.reason == "INVALID_PAGE_TOKEN"


def test_a_token_fits_in_urls() -> None:
    made = token("2026-11-20T12:00:00", "ä/?#")
    assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
