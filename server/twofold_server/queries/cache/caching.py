"""The middleware: answer from memory, else from the shared level, else read and keep.

The memory is cachetools' LRUCache, 0.2 us a look. Its TTLCache takes twice that and knows nothing that is
not known here: an answer may come from another machine, so it carries its age.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from cachetools import LRUCache
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from msgspec import Struct, structs

from twofold.v1.reading_pb2 import ReadInfo
from twofold_server.queries.answer import Answer, Generation, serialized
from twofold_server.queries.bus import Next
from twofold_server.queries.cache.changes import Changes
from twofold_server.queries.cache.entries import Entry, entry_of, request_key
from twofold_server.queries.cache.metrics import CacheMetrics
from twofold_server.queries.cache.plans import Plan
from twofold_server.queries.cache.validity import Validity
from twofold_server.queries.call import QueryCall
from twofold_server.queries.consistency import has_token, wanted_position
from twofold_server.queries.positions import Positions

LARGEST = 16 * 1024
"""Bytes of the largest request or response that is kept: the number of entries bounds the memory."""


class SharedLevel(Protocol):
    """Answers that several query servers share."""

    async def get(self, plan: Plan, generation: Generation, key: bytes) -> Entry | None:
        """An answer that somebody stored; None where there is none, or where it takes too long."""

    def put(self, plan: Plan, generation: Generation, key: bytes, entry: Entry) -> None:
        """Store an answer, some time soon; it may be lost."""


class _Kept(Struct, frozen=True, gc=False):
    entry: Entry
    era: int
    """Of the validity, when it was kept."""
    row: bytes
    level: Answer
    """The answer while the log is not known to have gone on."""


class _Asked(NamedTuple):
    """A query that may be answered from the cache."""

    plan: Plan
    validity: Validity
    generation: Generation
    era: int
    key: bytes
    wanted: int


class Caching:
    """Keeps answers, and gives them again while they are known to be those of now."""

    def __init__(
        self,
        *,
        plans: Mapping[type[Message], Plan],
        changes: Changes,
        positions: Positions,
        metrics: CacheMetrics,
        entries: int,
        ttl: float,
        shared: SharedLevel | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``entries`` is the most that is kept; ``ttl`` the seconds after which an answer is read anew."""
        self._plans = plans
        self._changes = changes
        self._positions = positions
        self._metrics = metrics
        self._ttl = ttl
        self._shared = shared
        self._clock = clock
        self._kept: LRUCache[tuple[type[Message], bytes], _Kept] = LRUCache(entries)

    async def answer(self, call: QueryCall, proceed: Next) -> Answer:
        """Answer a query; see Middleware."""
        plan = self._plans.get(type(call.request))
        asked = self._asked(call, plan) if plan is not None else None
        if asked is None:
            return await proceed(call)
        kept = self._find(asked)
        if kept is not None:
            self._metrics.hits += 1
            return self._given(asked, kept)
        if self._shared is not None:
            entry = await self._shared.get(asked.plan, asked.generation, asked.key)
            if entry is not None and (kept := self._keep(asked, call, entry)) is not None:
                self._metrics.shared_hits += 1
                return self._given(asked, kept)
        self._metrics.misses += 1
        began = self._clock()
        answer = await proceed(call)
        self._store(asked, call, answer, began)
        return answer

    def _asked(self, call: QueryCall, plan: Plan) -> _Asked | None:
        validity = self._changes[plan.projection]
        generation = validity.generation
        if generation is None or generation.version != plan.version or not validity.is_known:
            return None
        key = request_key(call.request)
        if len(key) > LARGEST:
            return None
        wanted = wanted_position(call, generation.log_id) if has_token(call) else 0
        return _Asked(plan, validity, generation, validity.era, key, wanted)

    def _find(self, asked: _Asked) -> _Kept | None:
        kept = self._kept.get((asked.plan.request, asked.key))
        if kept is None or kept.era != asked.era or not self._is_good(asked, kept.entry, kept.row):
            return None
        return kept

    def _is_good(self, asked: _Asked, entry: Entry, row: bytes) -> bool:
        return (
            entry.position >= asked.wanted
            and self._clock() - entry.read_at < self._ttl
            and asked.validity.holds(entry.position, row)
        )

    def _store(self, asked: _Asked, call: QueryCall, answer: Answer, began: float) -> None:
        if answer.generation == asked.generation and len(answer.body) <= LARGEST:
            entry = entry_of(answer, began)
            if self._keep(asked, call, entry) is not None and self._shared is not None:
                self._shared.put(asked.plan, asked.generation, asked.key, entry)

    def _keep(self, asked: _Asked, call: QueryCall, entry: Entry) -> _Kept | None:
        """Keep an answer, unless it is not that of now, or meanwhile everything was dropped."""
        row = asked.plan.row(call.request)
        unwanted = asked._replace(wanted=0)
        if asked.era != asked.validity.era or not self._is_good(unwanted, entry, row):
            return None
        kept = _Kept(entry, asked.era, row, _level(asked.plan, entry))
        place = asked.plan.request, asked.key
        older = self._kept.get(place)
        if older is None or older.era != asked.era or older.entry.position <= entry.position:
            self._kept[place] = kept
        return kept if entry.position >= asked.wanted else None

    def _given(self, asked: _Asked, kept: _Kept) -> Answer:
        """The answer, and how far it is behind the log by now."""
        entry = kept.entry
        positions = self._positions[asked.plan.projection].head - entry.position
        if positions <= 0:
            return kept.level
        seconds = entry.behind + max(0.0, self._clock() - entry.read_at)
        info = ReadInfo(
            position=entry.position,
            lag=Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)),
            lag_positions=positions,
            consistency_token=entry.token,
        )
        return structs.replace(kept.level, read_info=serialized(info, asked.plan.response))


def _level(plan: Plan, entry: Entry) -> Answer:
    info = ReadInfo(position=entry.position, lag=Duration(), consistency_token=entry.token)
    return Answer(
        body=entry.body,
        read_info=serialized(info, plan.response),
        position=entry.position,
        token=entry.token,
    )
