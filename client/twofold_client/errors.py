"""What a failed call says: the google.rpc details of its status (AIP-193), as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

_DETAILS = "grpc-status-details-bin"

D = TypeVar("D", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is wrong with a request."""

    field: str
    """The path of the field, for example ``items[0].quantity``."""
    description: str
    """What is wrong, in plain words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallError:
    """Why a call failed."""

    code: grpc.StatusCode
    """The gRPC status."""
    message: str
    """What happened and what to do, in plain words."""
    reason: str = ""
    """UPPER_SNAKE_CASE, to be acted on; empty where the answer is not a Twofold server's."""
    domain: str = ""
    """The proto package that the reason belongs to."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The facts, for example ``expected`` and ``actual`` of a VERSION_CONFLICT."""
    violations: tuple[Violation, ...] = ()
    """Everything that is wrong with the request."""
    retry_after: float | None = None
    """Seconds after which the same call is worth a retry; None: the server does not say that it is."""

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason}: {self.message}"


def error_of(error: grpc.RpcError) -> CallError:
    """What a gRPC error says, whether of an asynchronous or a synchronous stub."""
    call: Any = error
    status = _status(call.trailing_metadata() or ())
    info = _detail(status, ErrorInfo) or ErrorInfo()
    wrong = _detail(status, BadRequest) or BadRequest()
    retry = _detail(status, RetryInfo)
    return CallError(
        code=call.code(),
        message=call.details() or "",
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        violations=tuple(Violation(field=v.field, description=v.description) for v in wrong.field_violations),
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )


def _status(trailing_metadata: Any) -> Status:
    try:
        return Status.FromString(dict(trailing_metadata).get(_DETAILS, b""))
    except DecodeError:
        return Status()


def _detail(status: Status, kind: type[D]) -> D | None:
    found = kind()
    return next((found for detail in status.details if detail.Unpack(found)), None)
