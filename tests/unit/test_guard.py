"""Around every handler: what goes wrong leaves as a status, and an exception's text never does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from structlog.testing import capture_logs

from twofold_server.errors import NotFound
from twofold_server.rpc.guard import guarded_stream, guarded_unary

SECRET = "password=hunter2"
NOT_FOUND = NotFound("there is no order 1", reason="ORDER_NOT_FOUND")


class Aborted(Exception):
    """What gRPC raises out of an abort."""


class Context:
    """A call that can be aborted."""

    status: Any = None

    async def abort_with_status(self, status: Any) -> None:
        """See grpc.aio."""
        self.status = status
        raise Aborted

    @property
    def info(self) -> ErrorInfo:
        """The ErrorInfo that the caller sees."""
        [(_, content)] = [
            pair for pair in self.status.trailing_metadata if pair[0] == "grpc-status-details-bin"
        ]
        found = ErrorInfo()
        assert any(detail.Unpack(found) for detail in Status.FromString(content).details)
        return found


def raising(error: BaseException) -> Any:
    async def handle(request: bytes, context: Any) -> bytes:
        raise error

    return guarded_unary(handle, method="GetOrder", domain="shop.orders.v1")


def streaming(*answers: bytes, then: BaseException | None = None) -> Any:
    async def handle(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for answer in answers:
            yield answer
        if then is not None:
            raise then

    return guarded_stream(handle, method="Subscribe", domain="twofold.v1")


async def test_an_answer_goes_through() -> None:
    async def handle(request: bytes, context: Any) -> bytes:
        return request + b"!"

    guarded = guarded_unary(handle, method="GetOrder", domain="shop.orders.v1")
    assert await guarded(b"hello", cast(Any, Context())) == b"hello!"


async def test_an_error_of_ours_leaves_with_its_status_and_details() -> None:
    context = Context()
    with pytest.raises(Aborted):
        await raising(NOT_FOUND)(b"", context)
    assert context.status.code is grpc.StatusCode.NOT_FOUND
    assert context.status.details == "there is no order 1"
    assert (context.info.reason, context.info.domain) == ("ORDER_NOT_FOUND", "shop.orders.v1")


async def test_an_unexpected_exception_leaves_as_an_id_that_is_in_the_log() -> None:
    context = Context()
    with capture_logs() as logs, pytest.raises(Aborted):
        await raising(ValueError(SECRET))(b"", context)
    assert context.status.code is grpc.StatusCode.INTERNAL
    assert SECRET not in str(context.status)
    [line] = logs
    assert line["error_id"] == context.info.metadata["error_id"]
    assert line["method"] == "GetOrder"
    assert SECRET in str(line["exc_info"])


async def test_a_cancelled_call_is_cancelled() -> None:
    context = Context()
    with pytest.raises(asyncio.CancelledError):
        await raising(asyncio.CancelledError())(b"", context)
    assert context.status is None


async def test_a_stream_goes_through_to_its_end() -> None:
    assert [answer async for answer in streaming(b"a", b"b")(b"", Context())] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (NOT_FOUND, grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"),
        (ValueError(SECRET), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_a_stream_that_breaks_leaves_with_a_status_after_what_it_sent(
    error: Exception, code: grpc.StatusCode, reason: str
) -> None:
    context = Context()
    answers = streaming(b"a", then=error)(b"", context)
    assert await anext(answers) == b"a"
    with capture_logs(), pytest.raises(Aborted):
        await anext(answers)
    assert (context.status.code, context.info.reason) == (code, reason)
    assert SECRET not in str(context.status)
