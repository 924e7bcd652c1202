"""Events from JetStream, as hints: whatever goes wrong here costs time, never an event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import nats.errors
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from twofold_server.event_store.events import RecordedEvent
from twofold_server.projections.pull import Pull

Decode = Callable[[Mapping[str, str] | None, bytes], RecordedEvent | None]
"""From a message's headers and data to its event; None where it does not hold one."""

AWAY_SECONDS = 0.25
"""The pause before the next look while the broker is away."""
_INACTIVE_SECONDS = 60.0


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
        self._stream = stream
        self._decode = decode
        self._source_of = source_of
        self._batch = batch
        self._source = ""
        self._pull: Pull | None = None
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

    def look_failed(self) -> None:
        """See Hints; these come within the usual time anyway."""

    async def next(self, after: int, timeout: float) -> Sequence[RecordedEvent]:
        """See Hints."""
        try:
            if not self._client.is_connected:
                raise nats.errors.ConnectionReconnectingError
            pull = self._pull
            if pull is None or self._reach < 0 or self._reach > after:
                pull = await self._begin_after(after)
            events = await self._fetch(pull, timeout)
        except (nats.errors.Error, TimeoutError) as error:
            self._trouble = f"JetStream: {str(error) or type(error).__name__}"
            self.reset()
            await asyncio.sleep(min(timeout, AWAY_SECONDS))
            return ()
        self._trouble = ""
        return events

    async def close(self) -> None:
        """See Hints."""
        pull, self._pull = self._pull, None
        if pull is not None:
            await pull.close()

    async def _fetch(self, pull: Pull, timeout: float) -> Sequence[RecordedEvent]:
        found = [
            event
            for message in await pull.next(timeout)
            if (message.headers or {}).get("ce-source") == self._source
            and (event := self._decode(message.headers, message.data)) is not None
        ]
        if found:
            self._reach = found[-1].position
        return found

    async def _begin_after(self, position: int) -> Pull:
        await self.close()
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=position + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_INACTIVE_SECONDS,
            mem_storage=True,
            num_replicas=1,
        )
        self._pull = await Pull.open(self._client, self._stream, config, batch=self._batch)
        self._reach = position
        return self._pull
