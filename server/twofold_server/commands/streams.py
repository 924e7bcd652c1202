"""Hot state: the streams that were touched last, with events that are still being committed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from twofold_server.commands.lru import Lru
from twofold_server.commands.snapshots import restore
from twofold_server.event_store.appending import Basis
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.store import EventStore
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Decider

_PAGE = 1000


class Stream:
    """One aggregate in memory: its state after all events decided so far, committed or on their way."""

    __slots__ = ("_folded", "_unfolded", "basis", "decider", "name", "version")

    def __init__(self, name: str, decider: Decider[Any]) -> None:
        self.name = name
        self.decider = decider
        self.version = 0
        self.basis = Basis()
        self._folded = decider.initial_state()
        self._unfolded: list[Message] = []

    @property
    def state(self) -> Any:
        """The state, folded when it is asked for: many a new aggregate never is."""
        self.fold()
        return self._folded

    def fold(self) -> None:
        """Evolve the state by the events taken in so far."""
        if self._unfolded:
            state, evolve = self._folded, self.decider.evolve
            for event in self._unfolded:
                state = evolve[type(event)](state, event)
            self._folded = state
            self._unfolded.clear()

    def restore(self, state: Any, version: int) -> None:
        """Begin with the state of a snapshot."""
        self._folded, self.version = state, version

    def apply(self, events: Sequence[Message]) -> None:
        """Take in the next events."""
        self._unfolded += events
        self.version += len(events)


class HotStreams:
    """Loads streams and keeps the ones used last."""

    def __init__(self, store: EventStore, codec: EventCodec, *, capacity: int) -> None:
        self._store = store
        self._codec = codec
        self._cache: Lru[Stream] = Lru(max(1, capacity))
        self._loading: dict[str, asyncio.Task[Stream]] = {}

    async def load(self, name: str, decider: Decider[Any]) -> Stream:
        """The stream in its newest known state; raises Unavailable."""
        stream = self._cache.get(name)
        if stream is not None and not stream.basis.broken:
            return stream
        task = self._loading.get(name)
        if task is None:
            # A task of its own: a caller that gives up must not fail the others that wait for it.
            task = self._loading[name] = asyncio.create_task(self._load(name, decider))
            task.add_done_callback(lambda _: self._loading.pop(name, None))
        return await asyncio.shield(task)

    def begin(self, name: str, decider: Decider[Any]) -> Stream:
        """A stream whose name was made just now, so that nothing can be stored for it."""
        stream = Stream(name, decider)
        self._cache.put(name, stream)
        return stream

    def evict(self, stream: Stream) -> None:
        """Forget a state that turned out to be wrong; decisions on it are void."""
        stream.basis.broken = True
        self._cache.drop(stream.name, stream)

    async def _load(self, name: str, decider: Decider[Any]) -> Stream:
        stream = Stream(name, decider)
        loaded = await self._store.load_stream(name, state_revision=decider.state_revision, limit=_PAGE)
        events, snapshot = loaded.events, loaded.snapshot
        state = restore(decider, snapshot) if snapshot is not None else None
        if state is not None and snapshot is not None:
            stream.restore(state, snapshot.version)
        elif snapshot is not None:
            events = await self._store.read_stream(name, limit=_PAGE)
        self._fold(stream, events)
        while len(events) == _PAGE:
            events = await self._store.read_stream(name, from_version=stream.version + 1, limit=_PAGE)
            self._fold(stream, events)
        self._cache.put(name, stream)
        return stream

    def _fold(self, stream: Stream, events: Sequence[RecordedEvent]) -> None:
        stream.apply([self._codec.decode(event) for event in events])
        stream.fold()  # page by page, so that a long past is never in memory as a whole
