"""Rows that are watched: each sent as it is, and again each time that it has changed.

Who watches is woken when the projection has moved on, by a notice or by a look (see Positions), and reads the
row again. Nothing is kept for a slow reader: it gets the row as it is when it reads on, so it may miss what
was between, and never the last state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from google.protobuf.message import Message

from twofold.v1.reading_pb2 import ReadInfo
from twofold_server.errors import InvalidRequest, ProjectionLag, Unavailable
from twofold_server.messages.tokens import token_position
from twofold_server.modelling import WatchQuery
from twofold_server.queries.bus import FoundQuery
from twofold_server.queries.call import QueryCall
from twofold_server.queries.coalescing import Coalescer
from twofold_server.queries.consistency import (
    fails_when_stale,
    patience,
    read_info,
    wanted_position,
)
from twofold_server.queries.positions import Position
from twofold_server.queries.snapshot_reads import SnapshotReads
from twofold_server.queries.snapshots import Checkpoint

READ_AGAIN = 5.0
"""Seconds after which a row is read again, whatever was heard."""
PAUSE = 0.02
"""Seconds between two reads of a row, so that a projection that catches up is not read at each step."""


class _Seen(NamedTuple):
    checkpoint: Checkpoint
    outcome: tuple[int, Message] | Exception


class Watches:
    """Serves all that is watched on one query server."""

    def __init__(
        self, reads: SnapshotReads, queries: Mapping[type[Message], FoundQuery], *, stopping: asyncio.Event
    ) -> None:
        """``stopping`` is set when the server stops: then all watching ends."""
        self._reads = reads
        self._stopping = stopping
        self._readers: dict[type[Message], Callable[[Any], Awaitable[_Seen]]] = {
            request: Coalescer(partial(self._read, found.contract.projection, found.query.answer_all)).ask
            for request, found in queries.items()
            if isinstance(found.query, WatchQuery)
        }

    async def watch(self, call: QueryCall) -> AsyncGenerator[bytes, None]:
        """The serialized row, and then every change of it; with a ``resume_token`` only what came after that.

        Raises what a query does (see Answers), and Unavailable when the server stops: nothing is lost, the
        last answer's token resumes anywhere.
        """
        read = self._readers[type(call.request)]
        known = await self._reads.begun(call.contract.projection)
        sent, wanted = _asked(call, known.log_id)
        await self._until(known.reach(wanted, patience(call)))
        first = True
        while True:
            checkpoint, outcome = await read(call.request)
            info, stale = read_info(checkpoint, known), first and checkpoint.position < wanted
            if stale and fails_when_stale(call):
                raise ProjectionLag(call.contract.projection, want=wanted, have=checkpoint.position)
            if isinstance(outcome, Exception):
                raise outcome
            position, response = outcome
            if position > sent:
                yield _shown(response, info, stale)
                sent = position
            first = False
            await self._until(_moved(known, checkpoint))

    async def _until(self, moment: Awaitable[None]) -> None:
        """Wait, unless the server stops."""
        waiting = asyncio.ensure_future(moment)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            stopping.cancel()
        if self._stopping.is_set():
            raise Unavailable(
                "the server stops; watch again with the last answer's token as resume_token",
                reason="SERVER_STOPPING",
            )

    async def _read(
        self, projection: str, answer_all: _AnswerAll, requests: Sequence[Any]
    ) -> Sequence[_Seen]:
        checkpoint, _, outcomes = await self._reads.read(projection, answer_all, requests)
        return [_Seen(checkpoint, outcome) for outcome in outcomes]


_Outcomes = Sequence[tuple[int, Message] | Exception]
_AnswerAll = Callable[[Sequence[Any], Any], _Outcomes]


def _shown(response: Any, info: ReadInfo, stale: bool) -> bytes:
    response.read_info.CopyFrom(info)
    response.read_info.stale = stale
    content: bytes = response.SerializeToString()
    return content


async def _moved(known: Position, checkpoint: Checkpoint) -> None:
    started = time.monotonic()
    await known.reach(checkpoint.position + 1, READ_AGAIN)
    await asyncio.sleep(max(0.0, PAUSE - (time.monotonic() - started)))


def _asked(call: QueryCall, log_id: str) -> tuple[int, int]:
    """The position of the row that the caller has, and the position to wait for."""
    token = call.request.resume_token
    try:
        seen = token_position(token, log_id)
    except InvalidRequest as error:
        why = error.message.removeprefix("consistency_token ")
        raise InvalidRequest(
            f"resume_token {why}", violations=[("resume_token", why)], reason=error.reason
        ) from None
    return seen if token else -1, max(seen, wanted_position(call, log_id))
