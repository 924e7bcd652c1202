"""Errors on the wire: each has its status and its details, and an unexpected one gives nothing away."""

from __future__ import annotations

from typing import TypeVar

import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo

from twofold_server import errors
from twofold_server.rpc.status import internal_status, status_of

D = TypeVar("D", bound=Message)
DOMAIN = "shop.orders.v1"

ERRORS: list[tuple[errors.TwofoldError, int]] = [
    (
        errors.InvalidRequest("wrong", violations=[("a", "is wrong"), ("b[1].c", "too")]),
        code_pb2.INVALID_ARGUMENT,
    ),
    (errors.NotFound("none", reason="ORDER_NOT_FOUND"), code_pb2.NOT_FOUND),
    (errors.AlreadyExists("there", reason="ORDER_ALREADY_EXISTS"), code_pb2.ALREADY_EXISTS),
    (
        errors.Rejected("ORDER_NOT_PAID", "not paid", metadata={"status": "PENDING"}),
        code_pb2.FAILED_PRECONDITION,
    ),
    (errors.VersionConflict("order-1", expected=1, actual=2), code_pb2.ABORTED),
    (errors.Contention("order-1", attempts=3), code_pb2.ABORTED),
    (errors.TooLarge("large", reason="MESSAGE_TOO_LARGE"), code_pb2.RESOURCE_EXHAUSTED),
    (errors.Overloaded("busy", reason="OVERLOADED"), code_pb2.RESOURCE_EXHAUSTED),
    (errors.ProjectionLag("orders", want=9, have=7), code_pb2.UNAVAILABLE),
    (errors.OtherReadModel("orders", has=1, wanted=2), code_pb2.UNAVAILABLE),
    (errors.Unavailable("away", reason="STORE_UNAVAILABLE"), code_pb2.UNAVAILABLE),
]


def detail(status: status_pb2.Status, kind: type[D]) -> D | None:
    found = kind()
    return next((found for each in status.details if each.Unpack(found)), None)


def subclasses(kind: type[errors.TwofoldError]) -> set[type[errors.TwofoldError]]:
    return {kind} | {deeper for sub in kind.__subclasses__() for deeper in subclasses(sub)}


def test_every_error_has_a_status() -> None:
    ours = {kind for kind in subclasses(errors.TwofoldError) if kind.__module__ == errors.__name__}
    assert ours - {errors.TwofoldError} == {type(error) for error, _ in ERRORS}


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_says_its_code_its_words_and_its_reason(error: errors.TwofoldError, code: int) -> None:
    status = status_of(error, DOMAIN)
    assert (status.code, status.message) == (code, error.message)
    info = detail(status, ErrorInfo)
    assert info is not None
    assert (info.reason, info.domain, dict(info.metadata)) == (error.reason, DOMAIN, error.metadata)


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_each_kind_of_detail_is_there_once_and_where_it_belongs(
    error: errors.TwofoldError, code: int
) -> None:
    status = status_of(error, DOMAIN)
    names = [each.TypeName() for each in status.details]
    assert len(names) == len(set(names))
    worth_a_retry = isinstance(
        error, errors.Overloaded | errors.ProjectionLag | errors.OtherReadModel | errors.Unavailable
    )
    assert (detail(status, RetryInfo) is not None) == worth_a_retry
    assert (detail(status, BadRequest) is not None) == isinstance(error, errors.InvalidRequest)
    assert (detail(status, PreconditionFailure) is not None) == isinstance(error, errors.Rejected)


def test_every_violation_is_told_with_its_field() -> None:
    error, _ = ERRORS[0]
    told = detail(status_of(error, DOMAIN), BadRequest)
    assert told is not None
    assert [(v.field, v.description) for v in told.field_violations] == [("a", "is wrong"), ("b[1].c", "too")]


def test_a_wrong_request_without_fields_has_no_empty_list_of_violations() -> None:
    status = status_of(errors.InvalidRequest("no message", reason="MALFORMED_MESSAGE"), DOMAIN)
    assert detail(status, BadRequest) is None


def test_a_rejection_is_a_failed_precondition_of_its_stream() -> None:
    error = errors.Rejected("ORDER_NOT_PAID", "not paid", metadata={"stream_name": "order-1"})
    told = detail(status_of(error, DOMAIN), PreconditionFailure)
    assert told is not None
    [violation] = told.violations
    assert (violation.type, violation.subject, violation.description) == (
        "ORDER_NOT_PAID",
        "order-1",
        "not paid",
    )


def test_a_version_conflict_tells_both_versions() -> None:
    info = detail(status_of(errors.VersionConflict("order-1", expected=1, actual=2), DOMAIN), ErrorInfo)
    assert info is not None
    assert (info.metadata["expected"], info.metadata["actual"]) == ("1", "2")


def test_a_read_model_that_is_behind_tells_how_far() -> None:
    info = detail(status_of(errors.ProjectionLag("orders", want=9, have=7), DOMAIN), ErrorInfo)
    assert info is not None
    assert (info.metadata["want"], info.metadata["have"]) == ("9", "7")


def test_a_retry_is_worth_it_after_a_moment() -> None:
    told = detail(status_of(errors.Unavailable("away", reason="STORE_UNAVAILABLE"), DOMAIN), RetryInfo)
    assert told is not None
    assert 0 < told.retry_delay.ToTimedelta().total_seconds() <= 1


def test_an_unexpected_error_tells_an_id_and_nothing_else() -> None:
    status = internal_status("4711", DOMAIN)
    assert status.code == code_pb2.INTERNAL
    assert "4711" in status.message
    info = detail(status, ErrorInfo)
    assert info is not None
    assert (info.reason, info.domain, dict(info.metadata)) == ("INTERNAL", DOMAIN, {"error_id": "4711"})
    assert len(status.details) == 1


def test_reasons_are_in_capital_letters_of_at_most_63() -> None:
    assert all(error.reason.isupper() and len(error.reason) <= 63 for error, _ in ERRORS)
