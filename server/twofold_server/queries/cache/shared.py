"""The shared level: answers in a Redis, for all query servers beside it.

Redis may be slow, empty or away at any moment: a look waits a tenth of a second at most, and while Redis is
away nobody waits for it at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from twofold_server.queries.answer import Generation
from twofold_server.queries.cache.entries import Entry
from twofold_server.queries.cache.plans import Plan
from twofold_server.queries.coalescing import Coalescer

FORMAT = 1
"""The version of what is stored: raise it when Entry changes."""
PATIENCE_SECONDS = 0.1
"""How long a look into Redis may take; reading anew takes no longer."""
RETRY_SECONDS = 1.0
"""How often it is tried again while Redis is away."""
MOST_UNSENT = 1000
"""Entries that wait to be stored; more are not stored."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class RedisLevel:
    """Answers in Redis (see SharedLevel)."""

    def __init__(self, client: Redis, *, ttl: float, clock: Callable[[], float] = time.time) -> None:
        """``ttl`` is the age in seconds at which an answer is gone from Redis."""
        self._client = client
        self._ttl = ttl
        self._clock = clock
        self._looks: Coalescer[bytes | None] = Coalescer(self._look)
        self._unsent: dict[str, Entry] = {}
        self._sending: asyncio.Task[None] | None = None
        self._coming_back: asyncio.Task[None] | None = None
        self._log = structlog.get_logger().bind()

    async def get(self, plan: Plan, generation: Generation, key: bytes) -> Entry | None:
        """See SharedLevel."""
        if self._coming_back is not None:
            return None
        content = await self._looks.ask(_name(plan, generation, key))
        try:
            return _decode(content) if content is not None else None
        except msgspec.MsgspecError:
            return None

    def put(self, plan: Plan, generation: Generation, key: bytes, entry: Entry) -> None:
        """See SharedLevel."""
        if self._coming_back is None and len(self._unsent) < MOST_UNSENT:
            self._unsent[_name(plan, generation, key)] = entry
            if self._sending is None:
                self._sending = asyncio.create_task(self._send())

    async def close(self) -> None:
        """Stop; what was not stored yet is not stored."""
        tasks = [task for task in (self._sending, self._coming_back) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, names: Sequence[str]) -> Sequence[bytes | None]:
        try:
            found: Sequence[Any] = await self._client.mget(names)
        except (RedisError, OSError) as error:
            self._is_away(error)
            return [None] * len(names)
        return found

    async def _send(self) -> None:
        try:
            while self._unsent:
                entries, self._unsent = self._unsent, {}
                async with self._client.pipeline(transaction=False) as pipeline:
                    for name, entry in entries.items():
                        left = entry.read_at + self._ttl - self._clock()
                        pipeline.set(name, _encode(entry), px=max(1, int(left * 1000)))
                    await pipeline.execute()
        except (RedisError, OSError) as error:
            self._unsent.clear()
            self._is_away(error)
        finally:
            self._sending = None

    def _is_away(self, error: Exception) -> None:
        if self._coming_back is None:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            self._log.warning("the shared cache is not available; answers go on without it", why=why)
            self._coming_back = asyncio.create_task(self._come_back())

    async def _come_back(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._client.ping()
            except (RedisError, OSError):
                continue
            self._log.info("the shared cache is back")
            self._coming_back = None
            return


def _name(plan: Plan, generation: Generation, key: bytes) -> str:
    """The key in Redis: of this log, contract and build of the read model, and of no other."""
    request = hashlib.blake2b(key, digest_size=16).hexdigest()
    of = (
        f"{generation.log_id}:{plan.projection}:{generation.version}.{generation.begun_at}.{generation.epoch}"
    )
    return f"twofold:{FORMAT}:{of}:{plan.contract}:{request}"


@asynccontextmanager
async def redis_level(url: str, *, ttl: float) -> AsyncIterator[RedisLevel]:
    """The Redis at a URL, which need not be there yet."""
    client = Redis.from_url(
        url,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
        retry=Retry(NoBackoff(), 0),  # by default three more tries, with pauses, while callers wait
        client_name="twofold-query-server",
    )
    level = RedisLevel(client, ttl=ttl)
    try:
        yield level
    finally:
        await level.close()
        await client.aclose()
