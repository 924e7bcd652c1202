"""EventService: the log over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import grpc

from twofold.v1 import event_service_pb2 as pb
from twofold_server.errors import NotFound
from twofold_server.event_store.envelope import to_proto
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.feed import Feed
from twofold_server.event_store.filters import ALL_PARTITIONS, EventFilter
from twofold_server.event_store.remote import LOG_ID
from twofold_server.event_store.store import EventStore
from twofold_server.messages.events import EventCodec
from twofold_server.rpc.guard import StreamHandler, guarded_stream
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.status import ENGINE_DOMAIN

SERVICE = pb.DESCRIPTOR.services_by_name["EventService"].full_name
BATCH = 100
"""Events in one message."""
PART_BYTES = 1024 * 1024
"""Event data in one message, unless one event alone has more."""
LOOK_AGAIN = 1.0
"""Seconds after which a waiting subscription looks at the log, whatever it was told."""
SEARCH = 20_000
"""Positions that one filtered read looks through."""


class EventService:
    """Serves the log from memory where it reaches back far enough, else from the store.

    Filters are asked in today's names and answered from stored ones; what is sent is in today's revision.
    """

    def __init__(self, *, store: EventStore, feed: Feed, codec: EventCodec, requests: RequestReader) -> None:
        self._store = store
        self._feed = feed
        self._codec = codec
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
        name = request.stream_name
        if not await self._store.stream_version(name):
            why = f"there is no stream {name}"
            raise NotFound(why, reason="STREAM_NOT_FOUND", metadata={"stream_name": name})
        version, last = max(request.from_version, 1), request.to_version or None
        while events := await self._store.read_stream(
            name, from_version=version, to_version=last, limit=BATCH
        ):
            for part in _in_parts(self._codec.newest(events)):
                yield pb.ReadStreamResponse(events=_protos(part)).SerializeToString()
            version = events[-1].stream_version + 1

    async def read_events(self, content: bytes, context: Any) -> AsyncIterator[bytes]:
        """The log up to its present end, or to a limit."""
        request = self._requests.read(pb.ReadEventsRequest, content)
        position, wanted = request.after_position, _filter(request.filter, self._codec)
        head, left = await self._store.head(), request.limit or None
        if position >= head:
            yield pb.ReadEventsResponse(position=position, head_position=head).SerializeToString()
        while position < head and left != 0:
            events, position = await self._read(position, wanted, head, min(BATCH, left or BATCH))
            left = None if left is None else left - len(events)
            for part, reached in _with_positions(self._codec.newest(events), position):
                yield pb.ReadEventsResponse(
                    events=_protos(part), position=reached, head_position=head
                ).SerializeToString()

    async def subscribe(self, content: bytes, context: Any) -> AsyncIterator[bytes]:
        """The log, then each new event.

        A slow reader costs no memory: gRPC's flow control stops this generator, which goes on from the log
        when there is room again.
        """
        request = self._requests.read(pb.SubscribeRequest, content)
        position, wanted = request.after_position, _filter(request.filter, self._codec)
        while True:
            head = self._feed.head
            while position < head:
                events, position = await self._next(position, wanted, head)
                for part, reached in _with_positions(self._codec.newest(events), position):
                    yield pb.SubscribeResponse(
                        events=_protos(part), position=reached, head_position=self._feed.head
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


def _in_parts(events: list[RecordedEvent]) -> Iterator[list[RecordedEvent]]:
    """Events in parts that a client with gRPC's default limits can take."""
    part: list[RecordedEvent] = []
    size = 0
    for event in events:
        if part and size + len(event.data) > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(event)
        size += len(event.data)
    yield part


def _with_positions(events: list[RecordedEvent], reached: int) -> Iterator[tuple[list[RecordedEvent], int]]:
    """Parts, each with the position up to which all is sent; the last reaches as far as was looked."""
    parts = list(_in_parts(events))
    for part in parts[:-1]:
        yield part, part[-1].position
    yield parts[-1], reached


def _protos(events: Iterable[RecordedEvent]) -> list[Any]:
    return [to_proto(event) for event in events]


def _filter(wanted: pb.EventFilter, codec: EventCodec) -> EventFilter:
    partitions = frozenset(wanted.partitions)
    return EventFilter(
        packages=frozenset(wanted.contexts),
        moved_types=codec.moved_into(wanted.contexts),
        categories=frozenset(wanted.categories),
        type_names=codec.stored_names(wanted.event_types),
        stream_names=frozenset(wanted.stream_names),
        partitions=frozenset() if partitions == ALL_PARTITIONS else partitions,
    )
