"""The consistency token: opaque to callers, checked when it comes back."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.v1.tokens_pb2 import ConsistencyToken, LogPosition
from twofold_server.errors import InvalidRequest
from twofold_server.messages.tokens import consistency_token, token_position

LOG = "4f6f0c1e-8f5e-4d0b-a6f2-1a2b3c4d5e6f"


@given(st.integers(0, 2**63 - 1))
def test_a_token_comes_back_as_its_position(position: int) -> None:
    assert token_position(consistency_token(LOG, position), LOG) == position


def test_no_token_asks_for_nothing() -> None:
    assert token_position("", LOG) == 0


@given(st.integers(0, 2**63 - 1))
def test_a_token_fits_in_urls_and_in_metadata(position: int) -> None:
    token = consistency_token(LOG, position)
    assert token.isascii()
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(token) <= 100


def encoded(*logs: LogPosition) -> str:
    return base64.urlsafe_b64encode(ConsistencyToken(logs=logs).SerializeToString()).rstrip(b"=").decode()


ONE = LogPosition(log_id=LOG, position=1)


@pytest.mark.parametrize(
    "token",
    [
        "not a token",
        "!!!!",
        "Zm9v",
        "A",
        "ä",
        consistency_token(LOG, 5)[:-3],
        consistency_token(LOG, 5) + "A",
        encoded(ONE, ONE),
        encoded(LogPosition(log_id=LOG, position=-1)),
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        token_position(token, LOG)
    assert refusal.value.reason == "INVALID_CONSISTENCY_TOKEN"
    assert [field for field, _ in refusal.value.violations] == ["read_options.consistency_token"]


def test_a_token_of_another_log_is_refused_and_says_so() -> None:
    with pytest.raises(InvalidRequest, match="another event log"):
        token_position(consistency_token("another", 5), LOG)


@given(st.text(max_size=60))
def test_any_text_is_a_token_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert token_position(text, LOG) >= 0
