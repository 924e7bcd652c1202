"""The Python client: sessions that never go back, retries that are safe, errors that can be read."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc.aio import AioRpcError, Metadata

from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from shop.orders.v1.query_service_pb2_grpc import QueryServiceStub
from tests.unit.order_messages import create, pay
from twofold.v1.batch_service_pb2 import BatchExecuteRequest
from twofold.v1.event_service_pb2 import ReadEventsRequest
from twofold.v1.event_service_pb2_grpc import EventServiceStub
from twofold_client import CallError, ClientConfig, Session, Violation, connect, error_of, request_id
from twofold_client.interceptors import CarriesSession, StreamsInSession
from twofold_client.request_ids import with_request_id
from twofold_server import errors
from twofold_server.messages.tokens import consistency_token, token_position
from twofold_server.rpc.status import status_of

LOG = "4f6f0c1e-8f5e-4d0b-a6f2-1a2b3c4d5e6f"


def token(position: int, log: str = LOG) -> str:
    return consistency_token(log, position)


# --- sessions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", list(itertools.permutations([3, 7, 5])), ids=str)
def test_a_session_never_goes_back_in_whatever_order_answers_come(seen: tuple[int, ...]) -> None:
    session = Session()
    for position in seen:
        session.saw(token(position))
    assert token_position(session.consistency_token, LOG) == 7


def test_a_session_begins_where_another_left_off() -> None:
    session = Session(consistency_token=token(9))
    session.saw(token(4))
    assert session.consistency_token == token(9)


def test_an_answer_without_a_token_changes_nothing() -> None:
    session = Session(consistency_token=token(9))
    session.saw("")
    assert session.consistency_token == token(9)


def test_the_token_of_another_log_takes_the_place_of_ours() -> None:
    session = Session(consistency_token=token(9))
    session.saw(token(2, "another log"))
    assert session.consistency_token == token(2, "another log")


def test_a_token_in_a_form_that_is_not_known_here_is_carried_as_it_is() -> None:
    session = Session(consistency_token="not of today!")
    session.saw("nor this one!")
    assert session.consistency_token == "nor this one!"


def test_only_reads_carry_the_token() -> None:
    session = Session(actor="ada", correlation_id="conversation", consistency_token=token(1))
    said = [("twofold-actor", "ada"), ("twofold-correlation-id", "conversation")]
    assert session.metadata(reads=False) == said
    assert session.metadata(reads=True) == [*said, ("twofold-consistency-token", token(1))]
    assert Session().metadata(reads=True) == []


@pytest.mark.parametrize("text", ["Zoë", "two\nlines", "x" * 256])
def test_text_that_does_not_fit_in_metadata_is_told_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="actor must be printable ASCII"):
        Session(actor=text)
    with pytest.raises(ValueError, match="correlation_id must be printable ASCII"):
        Session(correlation_id=text)


async def test_calls_inside_a_block_belong_to_its_session_and_others_do_not() -> None:
    async with connect(actor="service") as client:
        with client.session(actor="ada", consistency_token=token(3)) as session:
            assert client.current_session is session
            assert await asyncio.create_task(actor_of(client)) == "ada"
        assert client.current_session.actor == "service"
        assert client.current_session.consistency_token == ""


async def actor_of(client: Any) -> str:
    actor: str = client.current_session.actor
    return actor


# --- calls ---------------------------------------------------------------------------------------


class Call:
    """A finished call."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def __await__(self) -> Any:
        return asyncio.sleep(0, "response").__await__()

    async def trailing_metadata(self) -> Metadata:
        return self._metadata


class Details(SimpleNamespace):
    """What gRPC hands to interceptors, which make a changed copy of it."""

    def _replace(self, **changes: Any) -> Details:
        return Details(**vars(self) | changes)


class Wire:
    """What was sent, and what comes back."""

    def __init__(self, answer: str = "") -> None:
        self.sent: list[tuple[Details, Any]] = []
        self._answer = Metadata(*([("twofold-consistency-token", answer)] if answer else []))

    async def __call__(self, details: Details, request: Any) -> Call:
        self.sent.append((details, request))
        return Call(self._answer)


async def send(
    request: Any,
    session: Session,
    wire: Wire,
    *,
    reads: bool,
    timeout: float | None = None,
    metadata: Any = None,
) -> Details:
    carrying = CarriesSession(session=lambda: session, reads=reads, timeout=30.0)
    await carrying.intercept_unary_unary(wire, Details(timeout=timeout, metadata=metadata), request)
    return wire.sent[-1][0]


@pytest.mark.parametrize("reads", [False, True])
async def test_a_session_takes_the_token_of_each_answer(reads: bool) -> None:
    session = Session()
    await send(pay(), session, Wire(token(5)), reads=reads)
    assert session.consistency_token == token(5)


async def test_a_query_says_what_its_session_has_seen() -> None:
    details = await send(pay(), Session(consistency_token=token(5)), Wire(), reads=True)
    assert dict(details.metadata) == {"twofold-consistency-token": token(5)}


async def test_what_is_given_with_a_call_goes_before_what_the_session_says() -> None:
    given = (("twofold-actor", "bob"), ("traceparent", "00-1-2-01"))
    details = await send(pay(), Session(actor="ada"), Wire(), reads=False, metadata=given)
    assert list(details.metadata) == list(given)


@pytest.mark.parametrize(("given", "used"), [(None, 30.0), (2.5, 2.5)])
async def test_a_call_has_a_deadline(given: float | None, used: float) -> None:
    assert (await send(pay(), Session(), Wire(), reads=False, timeout=given)).timeout == used


async def test_a_stream_says_what_its_session_has_seen() -> None:
    wire, session = Wire(), Session(actor="ada", consistency_token=token(5))
    streaming = StreamsInSession(session=lambda: session, reads=True)
    await streaming.intercept_unary_stream(wire, Details(timeout=None, metadata=None), pay())
    [(details, _)] = wire.sent
    assert dict(details.metadata) == {"twofold-actor": "ada", "twofold-consistency-token": token(5)}
    assert details.timeout is None


async def test_a_command_without_a_request_id_is_given_one_so_that_a_retry_is_safe() -> None:
    wire, command = Wire(), pay()
    await send(command, Session(), wire, reads=False)
    [(_, sent)] = wire.sent
    assert uuid.UUID(sent.request_id).version == 7
    assert command.request_id == "", "the caller's message is left alone"
    sent.request_id = ""
    assert sent == command


async def test_a_request_id_of_the_caller_is_kept() -> None:
    wire, command = Wire(), pay()
    command.request_id = request_id()
    await send(command, Session(), wire, reads=False)
    assert wire.sent[0][1] is command


async def test_what_cannot_have_a_request_id_is_sent_as_it_is() -> None:
    wire, request = Wire(), ReadEventsRequest(after_position=3)
    await send(request, Session(), wire, reads=False)
    assert wire.sent[0][1] is request


def test_the_commands_of_a_batch_are_each_given_a_request_id() -> None:
    kept, unknown = create(), AnyMessage(type_url="type.googleapis.com/acme.v1.Unknown", value=b"?")
    kept.request_id = request_id()
    batch = BatchExecuteRequest(commands=[AnyMessage(), AnyMessage(), unknown, AnyMessage()])
    batch.commands[0].Pack(pay())
    batch.commands[1].Pack(kept)
    first, second, third, fourth = with_request_id(batch).commands
    paying = pay()
    assert first.Unpack(paying)
    assert uuid.UUID(paying.request_id).version == 7
    assert (second, third, fourth) == (batch.commands[1], unknown, AnyMessage())


def test_request_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    ids = [request_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert {uuid.UUID(each).variant for each in ids} == {uuid.RFC_4122}
    prefixes = [each[:13] for each in ids]
    assert prefixes == sorted(prefixes)


# --- channels ------------------------------------------------------------------------------------


async def test_a_stub_is_placed_on_the_channel_of_the_server_that_answers_it() -> None:
    placed: dict[str, object] = {}

    def spying(stub: Any) -> Any:
        def make(channel: grpc.aio.Channel) -> Any:
            placed[stub.__name__] = channel
            return stub(channel)

        make.__module__, make.__name__ = stub.__module__, stub.__name__
        return make

    async with connect() as client:
        for stub in (CommandServiceStub, QueryServiceStub, EventServiceStub):
            assert isinstance(client.stub(spying(stub)), stub)
        assert placed == {
            "CommandServiceStub": client.commands,
            "QueryServiceStub": client.queries,
            "EventServiceStub": client.commands,
        }


def test_a_config_cannot_be_changed_and_says_what_it_is() -> None:
    with pytest.raises(AttributeError):
        ClientConfig().timeout = 1.0  # type: ignore[misc]


# --- errors --------------------------------------------------------------------------------------


def failed(status: Status | bytes, code: grpc.StatusCode) -> AioRpcError:
    content = status if isinstance(status, bytes) else status.SerializeToString()
    return AioRpcError(code, Metadata(), Metadata(("grpc-status-details-bin", content)), "what happened")


def test_the_details_of_an_error_are_plain_values() -> None:
    error = errors.InvalidRequest("wrong", violations=[("items[0].quantity", "must be 1 or more")])
    read = error_of(failed(status_of(error, "shop.orders.v1"), grpc.StatusCode.INVALID_ARGUMENT))
    assert read == CallError(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        message="what happened",
        reason="INVALID_REQUEST",
        domain="shop.orders.v1",
        violations=(Violation(field="items[0].quantity", description="must be 1 or more"),),
    )
    assert str(read) == "INVALID_ARGUMENT INVALID_REQUEST: what happened"


def test_the_facts_of_an_error_are_its_metadata() -> None:
    status = status_of(errors.VersionConflict("order-1", expected=2, actual=3), "shop.orders.v1")
    read = error_of(failed(status, grpc.StatusCode.ABORTED))
    assert (read.reason, read.metadata["expected"], read.metadata["actual"]) == ("VERSION_CONFLICT", "2", "3")


def test_an_error_says_after_how_many_seconds_a_retry_is_worth_it() -> None:
    status = status_of(errors.Unavailable("away", reason="STORE_UNAVAILABLE"), "shop.orders.v1")
    assert error_of(failed(status, grpc.StatusCode.UNAVAILABLE)).retry_after == 0.2
    at_once = Status()
    at_once.details.add().Pack(RetryInfo(retry_delay=Duration()))
    assert error_of(failed(at_once, grpc.StatusCode.UNAVAILABLE)).retry_after == 0.0


@pytest.mark.parametrize("content", [b"", b"\xff\xff no status"])
def test_an_error_without_readable_details_says_what_there_is(content: bytes) -> None:
    read = error_of(failed(content, grpc.StatusCode.UNAVAILABLE))
    assert read == CallError(code=grpc.StatusCode.UNAVAILABLE, message="what happened")
