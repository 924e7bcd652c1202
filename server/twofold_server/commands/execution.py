"""Load, decide, append: the write path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from uuid_utils import uuid7

from twofold.v1.command_pb2 import Receipt
from twofold.v1.options_pb2 import EXISTENCE_MUST_EXIST, EXISTENCE_MUST_NOT_EXIST
from twofold_server.commands.call import CommandCall, CommandResult
from twofold_server.commands.snapshots import Snapshots
from twofold_server.commands.streams import HotStreams, Stream
from twofold_server.errors import (
    AlreadyExists,
    Contention,
    InvalidRequest,
    NotFound,
    Rejected,
    TwofoldError,
    Unavailable,
    VersionConflict,
)
from twofold_server.event_store.appending import (
    Append,
    Appended,
    AppendOutcome,
    Replay,
    StoredResponse,
)
from twofold_server.event_store.events import NewEvent
from twofold_server.event_store.expected_version import expected
from twofold_server.event_store.group_commit import GroupCommit
from twofold_server.event_store.store import EventStore
from twofold_server.messages.events import EventCodec
from twofold_server.messages.tokens import consistency_token
from twofold_server.modelling import Decider, Given

ATTEMPTS = 10
"""How often a command is decided on fresh state before its caller is told of the contention."""


class UndeclaredRejection(Exception):
    """A decider gave a reason that its RPC does not declare: a mistake in the context."""


class CommandExecution:
    """Executes the commands of all contexts."""

    def __init__(
        self,
        *,
        store: EventStore,
        writer: GroupCommit,
        streams: HotStreams,
        snapshots: Snapshots,
        codec: EventCodec,
        deciders: Mapping[type[Message], Decider[Any]],
    ) -> None:
        self._store = store
        self._writer = writer
        self._streams = streams
        self._snapshots = snapshots
        self._codec = codec
        self._deciders = deciders

    async def execute(self, call: CommandCall) -> CommandResult:
        """Load, decide, append; decide again on conflict; reply.

        Raises what the decider refuses, VersionConflict, Contention, InvalidRequest (REQUEST_ID_REUSED) and
        Unavailable.
        """
        decider = self._deciders[type(call.command)]
        name = f"{decider.category}-{call.aggregate_id}"
        # 1. Load the state: nothing is stored under an id that was made just now.
        stream = (
            self._streams.begin(name, decider)
            if call.id_assigned
            else await self._streams.load(name, decider)
        )
        for _ in range(ATTEMPTS):
            # 2. Decide. What stores nothing is answered only when the state turns out to be true.
            try:
                events = _decide(call, stream)
            except _REFUSALS as refusal:
                match await self._check(call, stream):
                    case Appended():
                        raise _declared(call, refusal) from None
                    case Replay(stored=stored):  # it was accepted the first time
                        return _replayed(call, stored)
            else:
                # 3. Append: counts at once for the next decision, and for the world after the commit.
                match await self._append(call, stream, events):
                    case Appended(response=response):
                        return _accepted(call, response)
                    case Replay(stored=stored):
                        return _replayed(call, stored)
            # 4. Another writer was faster: decide again on fresh state.
            self._streams.evict(stream)
            stream = await self._streams.load(name, decider)
        raise Contention(name, attempts=ATTEMPTS)

    async def _append(self, call: CommandCall, stream: Stream, events: Sequence[Message]) -> AppendOutcome:
        if call.command.options.validate_only:
            return await self._plan(call, stream, events)
        before, after = stream.version, stream.version + len(events)
        append = Append(
            stream_name=stream.name,
            expected=expected(before),
            events=[self._new(event, call) for event in events],
            respond=lambda position: self._response(call, after, position),
            basis=stream.basis,
            request_id=call.request_id,
            request_hash=call.request_hash,
        )
        stream.apply(events)
        state = stream.state if self._snapshots.due(stream.decider, before, after) else None
        try:
            outcome = await self._writer.submit(append)
        except Unavailable:
            self._streams.evict(stream)
            raise
        if state is not None and isinstance(outcome, Appended):
            self._snapshots.offer(stream.name, stream.decider, after, state)
        return outcome

    async def _plan(self, call: CommandCall, stream: Stream, events: Sequence[Message]) -> AppendOutcome:
        """What an append would come to, with nothing stored."""
        receipt = Receipt(aggregate_id=call.aggregate_id, version=stream.version + len(events))
        for event in events:
            receipt.planned_events.add().Pack(event)
        outcome = await self._check(call, stream)
        if not isinstance(outcome, Appended):
            return outcome
        return Appended((), call.contract.response(receipt=receipt).SerializeToString())

    def _new(self, event: Message, call: CommandCall) -> NewEvent:
        return NewEvent(
            event_id=str(uuid7()),
            type_name=event.DESCRIPTOR.full_name,
            revision=self._codec.revision_of(event),
            data=event.SerializeToString(),
            metadata=call.metadata,
        )

    def _response(self, call: CommandCall, version: int, position: int) -> bytes:
        receipt = Receipt(
            aggregate_id=call.aggregate_id,
            version=version,
            position=position,
            consistency_token=consistency_token(self._store.log_id, position),
        )
        return call.contract.response(receipt=receipt).SerializeToString()

    async def _check(self, call: CommandCall, stream: Stream) -> AppendOutcome:
        """Whether what stores nothing was decided on the truth: an append of nothing, in line with others.

        It is made under the lock of the log, so nothing is on its way that the state does not know: neither
        another server's event, nor this very request, sent before over a connection that broke.
        """
        check = Append(
            stream_name=stream.name,
            expected=expected(stream.version),
            events=(),
            respond=lambda position: b"",
            basis=stream.basis,
            request_id="" if call.command.options.validate_only else call.request_id,
            only_check=True,
        )
        return await self._writer.submit(check)


_REFUSALS = (Rejected, NotFound, AlreadyExists, VersionConflict, InvalidRequest)


def _declared(call: CommandCall, refusal: TwofoldError) -> Exception:
    if isinstance(refusal, Rejected) and refusal.reason not in call.contract.rejections:
        return UndeclaredRejection(f"{call.contract.method} does not declare {refusal.reason}")
    return refusal


def _decide(call: CommandCall, stream: Stream) -> Sequence[Message]:
    options = call.command.options
    if options.HasField("expected_version") and options.expected_version != stream.version:
        raise VersionConflict(stream.name, expected=options.expected_version, actual=stream.version)
    _check_existence(call, stream)
    given = Given(datetime.now(UTC), call.command_id)
    return stream.decider.decide[type(call.command)](call.command, stream.state, given)


def _check_existence(call: CommandCall, stream: Stream) -> None:
    category, metadata = stream.decider.category, {"stream_name": stream.name}
    if call.contract.existence == EXISTENCE_MUST_EXIST and stream.version == 0:
        message = f"there is no {category} {call.aggregate_id}"
        raise NotFound(message, reason=f"{category.upper()}_NOT_FOUND", metadata=metadata)
    if call.contract.existence == EXISTENCE_MUST_NOT_EXIST and stream.version > 0:
        message = f"{category} {call.aggregate_id} exists already; choose another id or leave it empty"
        raise AlreadyExists(message, reason=f"{category.upper()}_ALREADY_EXISTS", metadata=metadata)


def _accepted(call: CommandCall, response: bytes) -> CommandResult:
    receipt: Receipt = call.contract.response.FromString(response).receipt  # type: ignore[attr-defined]
    return CommandResult(response, receipt)


def _replayed(call: CommandCall, stored: StoredResponse) -> CommandResult:
    if stored.request_hash != call.request_hash:
        raise InvalidRequest(
            f"request_id {call.request_id} was used for another request; use a new one for each command",
            violations=[("request_id", "was used for another request")],
            reason="REQUEST_ID_REUSED",
            metadata={"request_id": call.request_id},
        )
    response: Any = call.contract.response.FromString(stored.response)
    response.receipt.replayed = True
    return CommandResult(response.SerializeToString(), response.receipt)
