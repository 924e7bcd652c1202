"""EventService: the log over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc

from twofold.v1 import event_service_pb2 as pb
from twofold_server.errors import NotFound
from twofold_server.event_store.envelope import to_proto
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.feed import Feed
from twofold_server.event_store.filters import EventFilter
from twofold_server.event_store.store import EventStore
from twofold_server.rpc.guard import StreamHandler, guarded_stream
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.status import ENGINE_DOMAIN

LOG_ID = "twofold-log-id"
"""Initial metadata of every answer: the id of the log that the positions belong to."""
SERVICE = pb.DESCRIPTOR.services_by_name["EventService"].full_name
BATCH = 500
"""Events in one message."""
LOOK_AGAIN = 1.0
"""Seconds after which a waiting subscription looks at the log, whatever it was told."""
SEARCH = 20_000
"""Positions that one filtered read looks through."""


class EventService:
    """Serves the log from memory where it reaches back far enough, else from the store."""

    def __init__(self, *, store: EventStore, feed: Feed, requests: RequestReader) -> None:
        self._store = store
        self._feed = feed
        self._requests = requests

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        """The method handlers, by method name."""
        methods = {
            "ReadStream": self.read_stream,
            "ReadEvents": self.read_events,
            "Subscribe": self.subscribe,
        }
        return {
            name: grpc.unary_stream_rpc_method_handler(
                guarded_stream(self._naming_the_log(method), method=name, domain=ENGINE_DOMAIN)
            )
            for name, method in methods.items()
        }

    def _naming_the_log(self, method: StreamHandler) -> StreamHandler:
        async def handle(content: bytes, context: Any) -> AsyncIterator[bytes]:
            await context.send_initial_metadata(((LOG_ID, self._store.log_id),))
            async for response in method(content, context):
                yield response

        return handle

    async def read_stream(self, content: bytes, context: Any) -> AsyncIterator[bytes]:
        """One aggregate's events."""
        request = self._requests.read(pb.ReadStreamRequest, content)
        if not await self._store.stream_version(request.stream_name):
            name = request.stream_name
            raise NotFound(
                f"there is no stream {name}", reason="STREAM_NOT_FOUND", metadata={"stream_name": name}
            )
        version, last = max(request.from_version, 1), request.to_version or None
        while events := await self._store.read_stream(
            request.stream_name, from_version=version, to_version=last, limit=BATCH
        ):
            yield pb.ReadStreamResponse(events=_protos(events)).SerializeToString()
            version = events[-1].stream_version + 1

    async def read_events(self, content: bytes, context: Any) -> AsyncIterator[bytes]:
        """The log up to its present end, or to a limit."""
        request = self._requests.read(pb.ReadEventsRequest, content)
        position, wanted = request.after_position, _filter(request.filter)
        head, left = await self._store.head(), request.limit or None
        if position >= head:
            yield pb.ReadEventsResponse(position=position, head_position=head).SerializeToString()
        while position < head and left != 0:
            limit = BATCH if left is None else min(BATCH, left)
            events, position = await self._read(position, wanted, head, limit)
            left = None if left is None else left - len(events)
            yield pb.ReadEventsResponse(
                events=_protos(events), position=position, head_position=head
            ).SerializeToString()

    async def subscribe(self, content: bytes, context: Any) -> AsyncIterator[bytes]:
        """The log, then each new event; gRPC's flow control bounds what waits for a slow reader."""
        request = self._requests.read(pb.SubscribeRequest, content)
        position, wanted = request.after_position, _filter(request.filter)
        while True:
            head = self._feed.head
            while position < head:
                events, position = await self._next(position, wanted, head)
                yield pb.SubscribeResponse(
                    events=_protos(events), position=position, head_position=self._feed.head
                ).SerializeToString()
            await self._feed.wait_beyond(position, LOOK_AGAIN)
            if self._feed.head <= position:
                self._feed.advance(await self._store.head())

    async def _next(self, position: int, wanted: EventFilter, head: int) -> tuple[list[RecordedEvent], int]:
        recent = self._feed.recent(position, BATCH)
        if not recent:
            return await self._read(position, wanted, head, BATCH)
        return [event for event in recent if wanted.matches(event)], recent[-1].position

    async def _read(
        self, position: int, wanted: EventFilter, head: int, limit: int
    ) -> tuple[list[RecordedEvent], int]:
        """Wanted events after a position, and up to where this has looked."""
        if wanted == EventFilter():
            events = await self._store.read_events(position, to_position=head, limit=limit)
            return events, events[-1].position if events else head
        reach = min(head, position + SEARCH)
        events = await self._store.search_events(position, wanted, to_position=reach, limit=limit)
        return events, events[-1].position if len(events) == limit else reach


def _protos(events: Iterable[RecordedEvent]) -> list[Any]:
    return [to_proto(event) for event in events]


def _filter(wanted: pb.EventFilter) -> EventFilter:
    return EventFilter(
        packages=frozenset(wanted.contexts),
        categories=frozenset(wanted.categories),
        type_names=frozenset(wanted.event_types),
        stream_names=frozenset(wanted.stream_names),
        partitions=frozenset(wanted.partitions),
    )
