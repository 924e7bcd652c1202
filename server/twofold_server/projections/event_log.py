"""The log over gRPC: EventService of the command server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from twofold.v1.event_service_pb2 import (
    EventFilter,
    ReadEventsRequest,
    ReadEventsResponse,
    ReadStreamRequest,
    ReadStreamResponse,
)
from twofold_server.event_store.envelope import from_proto
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.remote import LOG_ID, event_service
from twofold_server.projections.sources import LogAway, LogBatch, PartitionBatch

ANSWER_SECONDS = 10.0
"""How long the next batch is waited for."""


_NO_SUCH_STREAM = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
"""What ReadStream answers where there is none of that name, or can be none."""


class GrpcEventLog:
    """Reads the log through a channel to the command server."""

    def __init__(self, service: Any) -> None:
        """``service`` is a stub of EventService."""
        self._stub = service

    async def read(self, after: int, *, limit: int) -> AsyncGenerator[LogBatch, None]:
        """See EventLog."""
        call = self._stub.ReadEvents(ReadEventsRequest(after_position=after, limit=limit))
        try:
            log_id = await _log_id(call)
            while isinstance(answer := await _answer(call), ReadEventsResponse):
                yield LogBatch(log_id, [from_proto(event) for event in answer.events], answer.head_position)
        except grpc.aio.AioRpcError as error:
            raise _away(error.details() or error.code().name) from error
        except TimeoutError:
            raise _away(f"no answer within {ANSWER_SECONDS:.0f} s") from None
        finally:
            call.cancel()

    async def read_partitions(
        self, after: int, partitions: Sequence[int]
    ) -> AsyncGenerator[PartitionBatch, None]:
        """See PartitionedLog."""
        wanted = EventFilter(partitions=partitions)
        call = self._stub.ReadEvents(ReadEventsRequest(after_position=after, filter=wanted))
        try:
            while isinstance(answer := await _answer(call), ReadEventsResponse):
                yield PartitionBatch([from_proto(event) for event in answer.events], answer.position)
        except grpc.aio.AioRpcError as error:
            raise _away(error.details() or error.code().name) from error
        except TimeoutError:
            raise _away(f"no answer within {ANSWER_SECONDS:.0f} s") from None
        finally:
            call.cancel()

    async def read_stream(self, name: str, *, after: int = 0) -> list[RecordedEvent]:
        """See StreamLog."""
        call = self._stub.ReadStream(ReadStreamRequest(stream_name=name, from_version=after + 1))
        events: list[RecordedEvent] = []
        try:
            while isinstance(answer := await _answer(call), ReadStreamResponse):
                events += [from_proto(event) for event in answer.events]
        except grpc.aio.AioRpcError as error:
            if error.code() in _NO_SUCH_STREAM:
                return []
            raise _away(error.details() or error.code().name) from error
        except TimeoutError:
            raise _away(f"no answer within {ANSWER_SECONDS:.0f} s") from None
        finally:
            call.cancel()
        return events


async def _answer(call: Any) -> Any:
    """The next message; None at the end."""
    async with asyncio.timeout(ANSWER_SECONDS):
        answer = await call.read()
    return None if answer is grpc.aio.EOF else answer


async def _log_id(call: Any) -> str:
    async with asyncio.timeout(ANSWER_SECONDS):
        metadata = await call.initial_metadata()
    log_id = metadata.get(LOG_ID)
    if not log_id:
        # A call that failed has no metadata; reading it raises what went wrong.
        await _answer(call)
        raise _away(f"it does not state its log id in metadata {LOG_ID}")
    return str(log_id)


def _away(why: str) -> LogAway:
    return LogAway(f"the command server does not send the log: {why}")


@asynccontextmanager
async def open_event_log(address: str) -> AsyncIterator[GrpcEventLog]:
    """The log of the command server at host:port, which need not be there yet."""
    async with event_service(address) as service:
        yield GrpcEventLog(service)
