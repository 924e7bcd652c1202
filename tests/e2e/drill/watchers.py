"""Readers that follow the log during all of a drill, and count what they miss or see twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from tests.e2e.shop import Shop
from twofold.v1.event_service_pb2 import SubscribeRequest

STREAM = "TWOFOLD_EVENTS"
_PAUSE_SECONDS = 0.05
_QUIET_SECONDS = 1.0


class Watch:
    """What a reader has seen."""

    def __init__(self) -> None:
        self.event_ids: list[str] = []
        """Of positions 1, 2, 3, …"""
        self.missed = 0
        self.repeated = 0
        self.resumed = 0
        """How often it had to begin anew."""

    @property
    def last(self) -> int:
        """The last position seen."""
        return len(self.event_ids)

    def see(self, position: int, event_id: str) -> None:
        """Count a position."""
        if position <= self.last:
            self.repeated += 1
            return
        missing = position - self.last - 1
        self.missed += missing
        self.event_ids += [""] * missing + [event_id]


async def watch_log(shop: Shop, watch: Watch) -> None:
    """Subscribe at EventService, and again from the last position whenever that ends; until cancelled."""
    while True:
        call = shop.events.Subscribe(SubscribeRequest(after_position=watch.last))
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for answer in call:
                for event in answer.events:
                    watch.see(event.position, event.event_id)
        watch.resumed += 1
        await asyncio.sleep(_PAUSE_SECONDS)


async def watch_stream(url: str, watch: Watch) -> None:
    """Read JetStream, and again from the last sequence whenever that fails; until cancelled."""
    async with nats_connection(url) as client:
        while True:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                await _read_on(client.jetstream(timeout=2), watch)
            watch.resumed += 1
            await asyncio.sleep(_PAUSE_SECONDS)


async def _read_on(js: JetStreamContext, watch: Watch) -> None:
    """Read until there is nothing for a while; whether that is for want of events, nobody says."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=watch.last + 1,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=30,
        # A consumer kept on disk comes back after a crash without the last of what it had delivered.
        mem_storage=True,
    )
    subscription = await js.pull_subscribe("", stream=STREAM, config=config)
    try:
        while True:
            for message in await subscription.fetch(200, timeout=_QUIET_SECONDS):
                watch.see(*_event_in(message))
    finally:
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()


def _event_in(message: Msg) -> tuple[int, str]:
    headers = message.headers or {}
    position = int(headers["ce-position"])
    assert message.metadata.sequence.stream == position
    return position, headers["ce-id"]


@contextlib.asynccontextmanager
async def nats_connection(url: str) -> AsyncIterator[Client]:
    """A client that connects again for ever."""

    async def on_error(error: Exception) -> None:
        """Expected: the server is killed now and then."""

    client = await nats.connect(url, error_cb=on_error, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        yield client
    finally:
        await client.close()
