"""Hot state: the streams that were touched last, with events that are still being committed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

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

    __slots__ = ("__weakref__", "_folded", "_unfolded", "basis", "decider", "name", "version")

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
    """Loads streams and keeps the ones used last.

    Who asks for a stream gets it in the order of asking, so that commands that come in order on one
    aggregate are decided in order, also where they wait for its state or decide again.
    """

    def __init__(self, store: EventStore, codec: EventCodec, *, capacity: int) -> None:
        self._store = store
        self._codec = codec
        self._cache: Lru[Stream] = Lru(max(1, capacity))
        self._in_use: WeakValueDictionary[str, Stream] = WeakValueDictionary()
        """With those that fell out of the cache while commands on them are still being committed."""
        self._waiting: dict[str, list[asyncio.Future[Stream]]] = {}
        self._loads: set[asyncio.Task[None]] = set()

    async def load(self, name: str, decider: Decider[Any]) -> Stream:
        """The stream in its newest known state; raises Unavailable."""
        waiting = self._waiting.get(name)
        if waiting is None:
            stream = self._known(name)
            if stream is not None and not stream.basis.broken:
                return stream
            waiting = self._waiting[name] = []
            # A task of its own: a caller that gives up must not fail the others that wait for it.
            load = asyncio.create_task(self._load_for_all(name, decider))
            self._loads.add(load)
            load.add_done_callback(self._loads.discard)
        turn: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        return await turn

    def begin(self, name: str, decider: Decider[Any]) -> Stream:
        """A stream whose name was made just now, so that nothing can be stored for it."""
        stream = Stream(name, decider)
        self._cache.put(name, stream)
        return stream

    def evict(self, stream: Stream) -> None:
        """Forget a state that turned out to be wrong; decisions on it are void."""
        stream.basis.broken = True
        self._cache.drop(stream.name, stream)

    def _known(self, name: str) -> Stream | None:
        stream = self._cache.get(name)
        if stream is None and (stream := self._in_use.get(name)) is not None:
            self._cache.put(name, stream)
        return stream

    async def _load_for_all(self, name: str, decider: Decider[Any]) -> None:
        waiting = self._waiting[name]
        try:
            stream = await self._load(name, decider)
            while waiting:
                for turn in _taken(waiting):
                    turn.set_result(stream)
                await asyncio.sleep(0)  # until they have decided, whoever else comes waits behind them
                if waiting and stream.basis.broken:
                    stream = await self._load(name, decider)
        except Exception as error:
            for turn in _taken(waiting):
                turn.set_exception(error)
        finally:
            del self._waiting[name]

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
        self._in_use[name] = stream
        return stream

    def _fold(self, stream: Stream, events: Sequence[RecordedEvent]) -> None:
        stream.apply([self._codec.decode(event) for event in events])
        stream.fold()  # page by page, so that a long past is never in memory as a whole


def _taken(waiting: list[asyncio.Future[Stream]]) -> list[asyncio.Future[Stream]]:
    """Those whose caller has not given up; none of them waits any longer."""
    left = [turn for turn in waiting if not turn.done()]
    waiting.clear()
    return left
