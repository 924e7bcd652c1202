"""What a caller is told when a call fails, and that it changed nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.rpc.error_details_pb2 import PreconditionFailure
from google.rpc.status_pb2 import Status

from tests.e2e.shop import DOMAIN, Shop
from twofold_client import CallError, error_of


async def refusal(call: Awaitable[Any]) -> CallError:
    """Why a call fails; fails where it does not."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error_of(error)
    raise AssertionError(f"the call succeeded: {answer}")


async def wrong(call: Awaitable[Any], reason: str = "INVALID_REQUEST", domain: str = DOMAIN) -> list[str]:
    """The fields that a call is refused for, which must be for INVALID_ARGUMENT."""
    error = await refusal(call)
    assert (error.code, error.reason, error.domain) == (grpc.StatusCode.INVALID_ARGUMENT, reason, domain)
    assert error.message
    assert all(violation.description for violation in error.violations)
    return [violation.field for violation in error.violations]


async def forbidden(call: Awaitable[Any], reason: str) -> PreconditionFailure.Violation:
    """Why the state of an order forbids a call, which must be FAILED_PRECONDITION."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        told = error_of(error)
        assert (told.code, told.reason, told.domain) == (grpc.StatusCode.FAILED_PRECONDITION, reason, DOMAIN)
        [violation] = _precondition(error).violations
        assert violation.type == reason
        return violation
    raise AssertionError("the call succeeded")


def _precondition(error: grpc.aio.AioRpcError) -> PreconditionFailure:
    metadata = dict(error.trailing_metadata() or ())
    status = Status.FromString(metadata["grpc-status-details-bin"])
    found = PreconditionFailure()
    assert any(detail.Unpack(found) for detail in status.details)
    return found


@asynccontextmanager
async def nothing_changes(shop: Shop) -> AsyncIterator[None]:
    """The log is as long after the block as before."""
    before = await shop.head()
    yield
    assert await shop.head() == before
