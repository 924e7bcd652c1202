"""Queries that the log itself answers: what happened to one aggregate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from google.protobuf.message import Message

from twofold.v1.reading_pb2 import ReadInfo
from twofold_server.messages.events import EventCodec
from twofold_server.messages.tokens import consistency_token
from twofold_server.modelling import HistoryQuery
from twofold_server.queries.answer import Answer, serialized
from twofold_server.queries.bus import FoundQuery, Middleware, Next
from twofold_server.queries.call import QueryCall
from twofold_server.queries.consistency import wanted_position
from twofold_server.queries.stream_log import Stream


class Log(Protocol):
    """Where streams are read."""

    async def read(self, stream_name: str, seconds: float | None) -> Stream:
        """All events of a stream; raises Unavailable."""


def answering_from_log(
    log: Log, codec: EventCodec, queries: Mapping[type[Message], FoundQuery]
) -> Middleware:
    """Answers the queries of the log, and lets the others pass.

    The log is never behind a token: a receipt is sent, and a token with it, when the events are in the log.
    """
    histories = {
        request: found.query for request, found in queries.items() if isinstance(found.query, HistoryQuery)
    }

    async def answer(call: QueryCall, proceed: Next) -> Answer:
        query = histories.get(type(call.request))
        if query is None:
            return await proceed(call)
        log_id, events = await log.read(query.stream_of(call.request), call.time_remaining)
        wanted = wanted_position(call, log_id)
        response = query.answer(call.request, [codec.event(event) for event in events])
        position = max([wanted, *(event.position for event in events[-1:])])
        info = ReadInfo(position=position, consistency_token=consistency_token(log_id, position))
        return Answer(
            body=response.SerializeToString(),
            read_info=serialized(info, call.contract.response),
            position=position,
            token=info.consistency_token,
        )

    return answer
