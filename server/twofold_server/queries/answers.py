"""From a query to its answer: wait until the read model is there, read, say how fresh it was."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from google.protobuf.message import Message
from msgspec import structs

from twofold.v1.reading_pb2 import ReadInfo
from twofold_server.errors import NotFound, ProjectionLag, TwofoldError
from twofold_server.messages.contract import QueryContract
from twofold_server.modelling import CoalescedQuery, Query
from twofold_server.queries.answer import Answer, Generation, serialized
from twofold_server.queries.bus import FoundQuery
from twofold_server.queries.call import QueryCall
from twofold_server.queries.coalescing import Coalescer
from twofold_server.queries.consistency import (
    fails_when_stale,
    has_token,
    patience,
    read_info,
    wanted_position,
)
from twofold_server.queries.snapshot_reads import SnapshotReads
from twofold_server.queries.snapshots import Checkpoint


class _Read(NamedTuple):
    """An answer as one snapshot gave it."""

    response: Message | Exception
    snapshot: _Snapshot


class _Snapshot(NamedTuple):
    """What all answers of one snapshot have in common."""

    checkpoint: Checkpoint
    info: ReadInfo
    read_info: bytes


class Answers:
    """Answers the queries of all contexts."""

    def __init__(self, reads: SnapshotReads, queries: Mapping[type[Message], FoundQuery]) -> None:
        self._reads = reads
        self._readers = {
            request: self._reader(found.contract, found.query)
            for request, found in queries.items()
            if isinstance(found.query, Query | CoalescedQuery)
        }

    async def answer(self, call: QueryCall) -> Answer:
        """The response, serialized, with ``read_info``.

        Raises InvalidRequest for a bad token, ProjectionLag where the wait was in vain and the caller wants
        no stale answer, Unavailable, and what the query itself raises.
        """
        read = self._readers[type(call.request)]
        if not has_token(call):
            return _delivered(await read(call.request))
        known = await self._reads.begun(call.contract.projection)
        wanted = wanted_position(call, known.log_id)
        give_up = time.monotonic() + patience(call)
        while True:
            await known.reach(wanted, give_up - time.monotonic())
            found = await read(call.request)
            if found.snapshot.checkpoint.position >= wanted:
                return _delivered(found)
            if time.monotonic() >= give_up:
                return _late(call, found, wanted)

    def _reader(
        self, contract: QueryContract, query: Query | CoalescedQuery
    ) -> Callable[[Any], Awaitable[_Read]]:
        if isinstance(query, CoalescedQuery):
            return Coalescer(partial(self._read, contract, query.answer_all)).ask
        answer_all = partial(_one, query)

        async def read(request: Any) -> _Read:
            return (await self._read(contract, answer_all, [request]))[0]

        return read

    async def _read(
        self, contract: QueryContract, answer_all: AnswerAll, requests: Sequence[Any]
    ) -> Sequence[_Read]:
        """Answer requests, and read how far the projection is, in one snapshot."""
        checkpoint, known, responses = await self._reads.read(contract.projection, answer_all, requests)
        info = read_info(checkpoint, known)
        snapshot = _Snapshot(checkpoint, info, serialized(info, contract.response))
        return [_Read(response, snapshot) for response in responses]


AnswerAll = Callable[[Sequence[Any], Any], Sequence[Message | Exception]]


def _one(query: Query, requests: Sequence[Any], connection: Any) -> Sequence[Message | Exception]:
    try:
        return [query.answer(requests[0], connection)]
    except TwofoldError as error:
        return [error]


def _delivered(found: _Read) -> Answer:
    response, (checkpoint, info, read_info) = found
    if isinstance(response, Exception):
        raise response
    return Answer(
        body=response.SerializeToString(),
        read_info=read_info,
        position=info.position,
        token=info.consistency_token,
        generation=_generation(checkpoint),
        behind=info.lag.seconds + info.lag.nanos / 1e9,
    )


def _generation(of: Checkpoint) -> Generation:
    return Generation(of.log_id, of.version, of.epoch, of.created_at)


def _late(call: QueryCall, found: _Read, wanted: int) -> Answer:
    have = found.snapshot.checkpoint.position
    if fails_when_stale(call):
        raise ProjectionLag(call.contract.projection, want=wanted, have=have)
    if isinstance(found.response, NotFound):
        # It may well exist: say that this was not the whole truth.
        found.response.metadata |= {"stale": "true", "want": str(wanted), "have": str(have)}
    answer = _delivered(found)
    stale = ReadInfo()
    stale.CopyFrom(found.snapshot.info)
    stale.stale = True
    return structs.replace(answer, stale=True, read_info=serialized(stale, call.contract.response))
