"""BatchService on a store in memory, and how a batch is sent to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tests.unit.command_side import CommandSide
from twofold.v1.batch_service_pb2 import BatchExecuteRequest, BatchExecuteResponse, BatchOutcome
from twofold.v1.command_pb2 import Receipt
from twofold_server.commands.bus import CommandBus, Middleware
from twofold_server.rpc.admission import Admission
from twofold_server.rpc.batch_service import BatchService
from twofold_server.rpc.requests import RequestReader

REQUESTS = RequestReader(max_bytes=4 * 1024 * 1024)
"""Compiling its rules takes a while: once for all tests."""


@dataclass
class Call:
    """What a handler sees of a gRPC call."""

    metadata: dict[str, str] = field(default_factory=dict)
    seconds: float | None = None
    trailing: tuple[tuple[str, str], ...] = ()
    """What the handler sent along."""

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """See grpc.aio."""
        return tuple(self.metadata.items())

    def time_remaining(self) -> float | None:
        """See grpc.aio."""
        return self.seconds

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """See grpc.aio."""
        self.trailing = metadata


class Batches:
    """The batch service of a command server."""

    def __init__(
        self,
        server: CommandSide,
        *,
        admission: Admission | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        """Admits everything unless told otherwise."""
        self._service = BatchService(
            contracts=server.contract.commands.values(),
            bus=CommandBus(server.execution.execute, middleware),
            requests=REQUESTS,
            admission=admission or Admission(max_in_flight=1_000_000),
        )

    async def send(self, *commands: Message, call: Call | None = None) -> list[BatchOutcome]:
        """What came of each command; an Any is sent as it is."""
        packed = [each if isinstance(each, AnyMessage) else pack(each) for each in commands]
        content = BatchExecuteRequest(commands=packed).SerializeToString()
        answer = await self._service.execute(content, call or Call())
        return list(BatchExecuteResponse.FromString(answer).outcomes)

    async def accepted(self, *commands: Message) -> list[Receipt]:
        """The receipt of each command; fails where one is refused."""
        return [receipt(outcome) for outcome in await self.send(*commands)]


def pack(command: Message) -> AnyMessage:
    """A command as a batch holds it."""
    packed = AnyMessage()
    packed.Pack(command)
    return packed


def asked(command: Any, **fields: Any) -> Any:
    """A copy of a command with its request id, or some of its options, set."""
    copy = type(command)()
    copy.CopyFrom(command)
    for name, value in fields.items():
        if name in copy.DESCRIPTOR.fields_by_name:
            setattr(copy, name, value)
        elif isinstance(value, list):
            getattr(copy.options, name).extend(value)
        else:
            setattr(copy.options, name, value)
    return copy


def receipt(outcome: BatchOutcome) -> Receipt:
    """The receipt of a command that was accepted."""
    assert outcome.WhichOneof("outcome") == "receipt", outcome
    return outcome.receipt


def refused(outcome: BatchOutcome) -> tuple[str, str, str]:
    """The code, reason and domain of a command that was refused."""
    assert outcome.WhichOneof("outcome") == "error", outcome
    assert outcome.error.message
    told = info(outcome.error)
    return Code.Name(outcome.error.code), told.reason, told.domain


def info(status: Status) -> ErrorInfo:
    """The ErrorInfo that every status has."""
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in status.details), status
    return found
