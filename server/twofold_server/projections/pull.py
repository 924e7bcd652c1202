"""The messages of a JetStream pull consumer, as many at a time as there are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from typing import Self

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

_API_SECONDS = 1.0
_SLACK_SECONDS = 0.5
"""How much later than promised the broker may say that there was nothing."""
_NOTHING = ("404", "408")
_HEARTBEAT = "100"


class Pull:
    """A consumer that is asked for messages ahead of their use.

    The client's own `fetch` waits for each message by itself, which takes as long as decoding it, and asks
    for the next ones only when the last ones were taken.
    """

    def __init__(self, client: Client, stream: str, consumer: str, batch: int) -> None:
        self._client = client
        self._stream = stream
        self._consumer = consumer
        self._batch = batch
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._messages: list[Msg] = []
        self._asked = 0
        self._failure = ""
        self._arrived = asyncio.Event()

    @classmethod
    async def open(cls, client: Client, stream: str, config: ConsumerConfig, *, batch: int) -> Self:
        """Make the consumer; raises nats.errors.Error or TimeoutError."""
        info = await _jetstream(client).add_consumer(stream, config)
        pull = cls(client, stream, info.name, batch)
        pull._subscription = await client.subscribe(pull._inbox, cb=pull._on_message)
        return pull

    async def next(self, seconds: float) -> Sequence[Msg]:
        """Messages in the order of the stream, none after so many seconds.

        Raises nats.errors.Error where the consumer is gone or does not answer.
        """
        give_up = time.monotonic() + seconds
        while not self._messages and (left := give_up - time.monotonic()) > 0:
            await self._ask(left)
            await self._wait(left + _SLACK_SECONDS)
        messages, self._messages = self._messages, []
        if messages:
            await self._ask(seconds)
        return messages

    async def close(self) -> None:
        """Delete the consumer, or leave that to its inactivity where the broker does not answer."""
        if self._client.is_connected:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                if self._subscription is not None:
                    await self._subscription.unsubscribe()
                await _jetstream(self._client).delete_consumer(self._stream, self._consumer)

    async def _ask(self, seconds: float) -> None:
        """Have at least half a batch on order."""
        if self._asked > self._batch // 2:
            return
        wanted = {"batch": self._batch, "expires": int(seconds * 1e9)}
        self._asked += self._batch
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        await self._client.publish(subject, json.dumps(wanted).encode(), reply=self._inbox)

    async def _wait(self, seconds: float) -> None:
        self._arrived.clear()
        if not self._messages and not self._failure:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        if self._failure:
            raise nats.errors.Error(self._failure)

    async def _on_message(self, message: Msg) -> None:
        status = message.headers.get("Status") if message.headers and not message.data else None
        if status is None:
            self._messages.append(message)
            self._asked -= 1
        elif status in _NOTHING:
            self._asked = 0
        elif status != _HEARTBEAT:
            self._failure = f"{status} {(message.headers or {}).get('Description', '')}"
        self._arrived.set()


def _jetstream(client: Client) -> JetStreamContext:
    return client.jetstream(timeout=_API_SECONDS)
