"""From a query to its answer: wait until the read model is there, read, say how fresh it was."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from google.protobuf.message import Message
from sqlalchemy import Connection

from twofold.v1.reading_pb2 import ReadInfo
from twofold_server.errors import NotFound, ProjectionLag, TwofoldError, Unavailable
from twofold_server.modelling import CoalescedQuery, Query
from twofold_server.queries.bus import FoundQuery
from twofold_server.queries.call import QueryCall
from twofold_server.queries.coalescing import Coalescer
from twofold_server.queries.consistency import (
    fails_when_stale,
    has_token,
    mark,
    patience,
    read_info,
    wanted_position,
)
from twofold_server.queries.positions import Position, Positions
from twofold_server.queries.read_store import ReadStore
from twofold_server.queries.snapshots import Checkpoint, ReadCheckpoint


class _Answer(NamedTuple):
    """An answer as one snapshot gave it."""

    response: Message | Exception
    info: ReadInfo


class Answers:
    """Answers the queries of all contexts."""

    def __init__(
        self,
        *,
        store: ReadStore,
        positions: Positions,
        read_checkpoint: ReadCheckpoint,
        queries: Mapping[type[Message], FoundQuery],
    ) -> None:
        self._store = store
        self._positions = positions
        self._read_checkpoint = read_checkpoint
        self._readers = {request: self._reader(found) for request, found in queries.items()}

    async def answer(self, call: QueryCall) -> Message:
        """The response, with ``read_info``.

        Raises InvalidRequest for a bad token, ProjectionLag where the wait was in vain and the caller wants
        no stale answer, Unavailable, and what the query itself raises.
        """
        read = self._readers[type(call.request)]
        if not has_token(call):
            return _delivered(await read(call.request), stale=False)
        known = await self._known(call.contract.projection)
        wanted = wanted_position(call, known.log_id)
        give_up = time.monotonic() + patience(call)
        while True:
            await known.reach(wanted, give_up - time.monotonic())
            answer = await read(call.request)
            if answer.info.position >= wanted:
                return _delivered(answer, stale=False)
            if time.monotonic() >= give_up:
                return _late(call, answer, wanted)

    async def _known(self, projection: str) -> Position:
        known = self._positions[projection]
        if not known.log_id:
            await known.look()
        if not known.log_id:
            raise _not_begun(projection)
        return known

    def _reader(self, found: FoundQuery) -> Callable[[Any], Awaitable[_Answer]]:
        projection = found.contract.projection
        if isinstance(found.query, CoalescedQuery):
            return Coalescer(partial(self._read, projection, found.query.answer_all)).ask
        answer_all = partial(_one, found.query)

        async def read(request: Any) -> _Answer:
            return (await self._read(projection, answer_all, [request]))[0]

        return read

    async def _read(
        self, projection: str, answer_all: AnswerAll, requests: Sequence[Any]
    ) -> Sequence[_Answer]:
        """Answer requests, and read how far the projection is, in one snapshot."""
        known = self._positions[projection]
        known_before = known.position
        work = partial(_snapshot, self._read_checkpoint, projection, answer_all, requests)
        checkpoint, responses = await self._store.read(work)
        if checkpoint is None:
            raise _not_begun(projection)
        known.saw(checkpoint, known_before=known_before)
        info = read_info(checkpoint, known)
        return [_Answer(response, info) for response in responses]


AnswerAll = Callable[[Sequence[Any], Any], Sequence[Message | Exception]]


def _snapshot(
    read_checkpoint: ReadCheckpoint,
    projection: str,
    answer_all: AnswerAll,
    requests: Sequence[Any],
    connection: Connection,
) -> tuple[Checkpoint | None, Sequence[Message | Exception]]:
    checkpoint = read_checkpoint(connection, projection)
    return checkpoint, answer_all(requests, connection) if checkpoint is not None else ()


def _one(query: Query, requests: Sequence[Any], connection: Any) -> Sequence[Message | Exception]:
    try:
        return [query.answer(requests[0], connection)]
    except TwofoldError as error:
        return [error]


def _delivered(answer: _Answer, *, stale: bool) -> Message:
    if isinstance(answer.response, Exception):
        raise answer.response
    mark(answer.response, answer.info, stale=stale)
    return answer.response


def _late(call: QueryCall, answer: _Answer, wanted: int) -> Message:
    have = answer.info.position
    if fails_when_stale(call):
        raise ProjectionLag(call.contract.projection, want=wanted, have=have)
    if isinstance(answer.response, NotFound):
        # It may well exist: say that this was not the whole truth.
        answer.response.metadata |= {"stale": "true", "want": str(wanted), "have": str(have)}
    return _delivered(answer, stale=True)


def _not_begun(projection: str) -> Unavailable:
    return Unavailable(
        f"projection {projection} has not begun yet; start a projector, or retry shortly",
        reason="PROJECTION_NOT_STARTED",
        metadata={"projection": projection},
    )
