"""Around every handler: whatever goes wrong leaves as a status with details."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import structlog
from google.rpc import status_pb2
from grpc_status import rpc_status

from twofold_server.errors import TwofoldError
from twofold_server.rpc.status import internal_status, status_of

Context = grpc.aio.ServicerContext[Any, Any]
UnaryHandler = Callable[[bytes, Context], Awaitable[bytes]]
StreamHandler = Callable[[bytes, Context], AsyncIterator[bytes]]

_log = structlog.get_logger("rpc")


def guarded_unary(handler: UnaryHandler, *, method: str, domain: str) -> UnaryHandler:
    """A unary handler whose errors become statuses of this error domain."""

    async def guarded(request: bytes, context: Context) -> bytes:
        try:
            return await handler(request, context)
        except TwofoldError as error:
            await _abort(context, status_of(error, domain))
        except Exception as error:
            await _abort(context, unexpected_status(error, method, domain))

    return guarded


def guarded_stream(handler: StreamHandler, *, method: str, domain: str) -> StreamHandler:
    """The same for a handler that answers with a stream."""

    async def guarded(request: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            async for response in handler(request, context):
                yield response
        except TwofoldError as error:
            await _abort(context, status_of(error, domain))
        except (grpc.aio.AbortError, asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as error:
            await _abort(context, unexpected_status(error, method, domain))

    return guarded


def unexpected_status(error: Exception, method: str, domain: str) -> status_pb2.Status:
    """Log an exception that nobody expected, and give the status that says nothing of it but its id."""
    error_id = uuid.uuid4().hex
    _log.error("unexpected error", method=method, error_id=error_id, exc_info=error)
    return internal_status(error_id, domain)


async def _abort(context: Context, status: status_pb2.Status) -> NoReturn:
    await context.abort_with_status(rpc_status.to_status(status))
