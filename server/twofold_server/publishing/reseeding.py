"""Reseeding: the stream is made anew and filled from a position of the log, for an operator.

Relays may be at work meanwhile. The stream that this makes begins where the operator wants; filling it is
what every relay does with a stream that is behind the log, so whoever is faster does it, and since each
message says what it must follow, several cannot disturb each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from nats.js.errors import NotFoundError

from twofold_server.event_store.store import EventStore
from twofold_server.publishing.config import RelayConfig
from twofold_server.publishing.link import connected
from twofold_server.publishing.relay import Relay
from twofold_server.publishing.stream import STREAM, EventStream

_API_SECONDS = 10
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Held:
    """What the stream holds."""

    messages: int
    first: int
    """The sequence of its first message."""
    last: int
    """The sequence of its last message."""


async def held(config: RelayConfig) -> Held | None:
    """What the stream holds; None where there is none. Raises nats.errors.Error or OSError."""
    async with connected(config.servers) as link:
        try:
            state = (await link.client.jetstream(timeout=_API_SECONDS).stream_info(STREAM)).state
        except NotFoundError:
            return None
    return Held(state.messages, state.first_seq, state.last_seq)


async def reseed(store: EventStore, config: RelayConfig, *, told: Callable[[int], None]) -> int:
    """Make the stream anew from ``config.from_position`` on, and return when it is level with the log.

    Returns the log position that the stream reaches then; ``told`` hears now and then how far it is. Raises
    nats.errors.Error, OSError and Unavailable before anything is filled; after that it tries again for ever.
    """
    head = await store.head()
    async with connected(config.servers) as link:
        await EventStream(link.client.jetstream(timeout=_API_SECONDS), store, config).recreate()
    relay = Relay(store=store, config=config)
    work = asyncio.create_task(relay.run())
    try:
        while relay.position < head or not relay.serving:
            await asyncio.sleep(_LOOK_SECONDS)
            told(relay.position)
    finally:
        while not work.done():  # on Python 3.11 a wait_for of nats-py may swallow a cancellation
            work.cancel()
            await asyncio.wait([work], timeout=_LOOK_SECONDS)
    return relay.position
