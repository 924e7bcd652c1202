"""Errors as callers see them: one table from our errors to google.rpc.Status (AIP-193)."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from twofold_server import errors

ENGINE_DOMAIN = "twofold.v1"
RETRY_DELAY = Duration(nanos=200_000_000)

_CODES: dict[type[errors.TwofoldError], int] = {
    errors.InvalidRequest: code_pb2.INVALID_ARGUMENT,
    errors.NotFound: code_pb2.NOT_FOUND,
    errors.AlreadyExists: code_pb2.ALREADY_EXISTS,
    errors.Rejected: code_pb2.FAILED_PRECONDITION,
    errors.VersionConflict: code_pb2.ABORTED,
    errors.Contention: code_pb2.ABORTED,
    errors.TooLarge: code_pb2.RESOURCE_EXHAUSTED,
    errors.Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    errors.ProjectionLag: code_pb2.UNAVAILABLE,
    errors.OtherReadModel: code_pb2.UNAVAILABLE,
    errors.Unavailable: code_pb2.UNAVAILABLE,
}
_WORTH_A_RETRY = (errors.Overloaded, errors.ProjectionLag, errors.OtherReadModel, errors.Unavailable)


def status_of(error: errors.TwofoldError, domain: str) -> status_pb2.Status:
    """The status of an error; ``domain`` is the proto package of the service."""
    status = status_pb2.Status(code=_CODES[type(error)], message=error.message)
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=domain, metadata=error.metadata))
    if isinstance(error, errors.InvalidRequest) and error.violations:
        _add(status, _bad_request(error))
    if isinstance(error, errors.Rejected):
        _add(status, _precondition(error))
    if isinstance(error, _WORTH_A_RETRY):
        _add(status, error_details_pb2.RetryInfo(retry_delay=RETRY_DELAY))
    return status


def internal_status(error_id: str, domain: str) -> status_pb2.Status:
    """What callers see of an unexpected exception: an id that is in the server's log, and nothing else."""
    status = status_pb2.Status(
        code=code_pb2.INTERNAL,
        message=f"something went wrong on the server; its log knows more under {error_id}",
    )
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=domain, metadata={"error_id": error_id})
    _add(status, info)
    return status


def _add(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)


def _bad_request(error: errors.InvalidRequest) -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation
    return error_details_pb2.BadRequest(
        field_violations=[violation(field=field, description=text) for field, text in error.violations]
    )


def _precondition(error: errors.Rejected) -> error_details_pb2.PreconditionFailure:
    violation = error_details_pb2.PreconditionFailure.Violation(
        type=error.reason, subject=error.metadata.get("stream_name", ""), description=error.message
    )
    return error_details_pb2.PreconditionFailure(violations=[violation])
