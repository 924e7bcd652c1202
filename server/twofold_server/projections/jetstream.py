"""Events from JetStream, as hints: whatever goes wrong here costs time, never an event."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from twofold_server.event_store.events import RecordedEvent

Decode = Callable[[Mapping[str, str] | None, bytes], RecordedEvent | None]
"""From a message's headers and data to its event; None where it does not hold one."""

AWAY_SECONDS = 0.25
"""The pause before the next look while the broker is away."""
_INACTIVE_SECONDS = 60.0
_API_SECONDS = 1.0


class JetStreamHints:
    """A pull consumer that starts right after the checkpoint, and is made anew on any trouble.

    It is ephemeral and acknowledges nothing: the checkpoint in the read store is what is remembered. The
    relay keeps the sequence of the stream equal to the position in the log.
    """

    def __init__(
        self,
        *,
        client: Client,
        stream: str,
        decode: Decode,
        source_of: Callable[[str], str],
        batch: int = 500,
    ) -> None:
        """``source_of`` gives the header ``ce-source`` of the events of a log, from its id."""
        self._client = client
        self._jetstream = client.jetstream(timeout=_API_SECONDS)
        self._stream = stream
        self._decode = decode
        self._source_of = source_of
        self._batch = batch
        self._source = ""
        self._consumer: JetStreamContext.PullSubscription | None = None
        self._name = ""
        self._reach = 0
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """See Hints."""
        return self._trouble if self._client.is_connected else "NATS is away"

    def follow(self, log_id: str) -> None:
        """See Hints."""
        self._source = self._source_of(log_id)

    def reset(self) -> None:
        """See Hints."""
        self._reach = -1

    async def next(self, after: int, timeout: float) -> Sequence[RecordedEvent]:
        """See Hints."""
        try:
            if not self._client.is_connected:
                raise nats.errors.ConnectionReconnectingError
            if self._consumer is None or self._reach < 0 or self._reach > after:
                await self._subscribe(after)
            events = await self._fetch(timeout)
        except (nats.errors.Error, TimeoutError) as error:
            self._trouble = f"JetStream: {str(error) or type(error).__name__}"
            self.reset()
            await asyncio.sleep(min(timeout, AWAY_SECONDS))
            return ()
        self._trouble = ""
        return events

    async def close(self) -> None:
        """See Hints."""
        consumer, self._consumer = self._consumer, None
        if consumer is None or not self._client.is_connected:
            return
        with contextlib.suppress(nats.errors.Error, TimeoutError):  # else it expires by itself
            await consumer.unsubscribe()
            await self._jetstream.delete_consumer(self._stream, self._name)

    async def _fetch(self, timeout: float) -> Sequence[RecordedEvent]:
        assert self._consumer is not None
        try:
            messages = await self._consumer.fetch(self._batch, timeout)
        except TimeoutError:  # nats.errors.TimeoutError is one: there was nothing
            return ()
        found = [
            event
            for message in messages
            if (message.headers or {}).get("ce-source") == self._source
            and (event := self._decode(message.headers, message.data)) is not None
        ]
        if found:
            self._reach = found[-1].position
        return found

    async def _subscribe(self, after: int) -> None:
        await self.close()
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_INACTIVE_SECONDS,
            mem_storage=True,
            num_replicas=1,
        )
        self._consumer = await self._jetstream.pull_subscribe("", stream=self._stream, config=config)
        self._name = config.name or ""
        self._reach = after
