"""Publishing over one connection, until the connection fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec
import structlog

from twofold_server.event_store.events import RecordedEvent
from twofold_server.publishing.config import RelayConfig
from twofold_server.publishing.headers import source_of
from twofold_server.publishing.link import Link
from twofold_server.publishing.outbox import Outbox
from twofold_server.publishing.stream import EventStream, Standing
from twofold_server.publishing.subjects import HEAD
from twofold_server.publishing.window import encode_notice, encode_window

_SOMEBODY_ELSE_WROTE = (10070, 10071, 10164)
"""JetStream's codes for: another message or sequence is the last than the one that was expected."""
_STANDBY_POLL_SECONDS = 0.5


class Refused(Exception):
    """JetStream refuses what should be right; the message says why."""


class HeadNotice(msgspec.Struct):
    """The message on ``twofold.head``: the log's last position."""

    log_id: str
    position: int


class Session:
    """Where the stream stands, and the steps that move it on.

    Its methods raise nats.errors.Error, OSError, Unavailable, Diverged, GapInLog and Refused.
    """

    def __init__(
        self,
        *,
        link: Link,
        stream: EventStream,
        outbox: Outbox,
        log_id: str,
        config: RelayConfig,
        moved: Callable[[Standing], None],
    ) -> None:
        """``moved`` is told each new standing."""
        self._link = link
        self._stream = stream
        self._outbox = outbox
        self._log_id = log_id
        self._source = source_of(log_id)
        self._config = config
        self._moved = moved
        self._log = structlog.get_logger().bind()
        self._standing = Standing(0, 0)
        self.proved = False
        """Whether the stream has taken or answered anything since the session began."""

    async def begin(self, known: Standing) -> None:
        """Create the stream where it is missing, and learn where it stands, which was ``known`` last."""
        self._standing = known
        await self._link.listen(HEAD, self._on_notice)
        await self._stream.ensure()
        await self._learn()

    async def publish(self) -> None:
        """Publish, or stand by for a relay that is faster, until something fails."""
        while True:
            before = self._standing
            if await self._step():
                continue
            await self._learn()
            if self._standing == before:
                raise Refused(
                    f"JetStream refuses what follows sequence {before.sequence}, though it is the last"
                )
            if self._standing.position > before.position:
                await self._stand_by()

    async def _step(self) -> bool:
        """Publish a window or wait; False when somebody else wrote to the stream."""
        events = await self._outbox.after(self._standing.position)
        if events:
            return await self._publish(events)
        return await self._outbox.wait(self._config.check_seconds) or await self._check()

    async def _publish(self, events: Sequence[RecordedEvent]) -> bool:
        follows = self._standing.sequence

        def encode(reply: str) -> bytes:
            window = encode_window(
                events, follows=follows, source=self._source, reply=reply, max_payload=self._link.max_payload
            )
            return window + self._notice()

        ack = await self._link.request(encode, self._config.ack_seconds)
        if ack.error is not None and ack.error.err_code not in _SOMEBODY_ELSE_WROTE:
            raise Refused(
                f"JetStream refuses to store events: {ack.error.description} ({ack.error.err_code})"
            )
        # A duplicate is one that another relay stored.
        if ack.error is not None or ack.duplicate or ack.seq != follows + len(events):
            return False
        self._stands(Standing(ack.seq, events[-1].position))
        self.proved = True
        return True

    async def _check(self) -> bool:
        """Look at what no message may have told: the stream's end, and the log's."""
        sequence = await self._stream.last_sequence()
        await self._outbox.look()
        await self._link.write(self._notice())
        self.proved = True
        return sequence == self._standing.sequence

    async def _stand_by(self) -> None:
        """Watch another relay at work; return when the stream stays behind the log."""
        self._log.info("relay stands by, another one publishes", position=self._standing.position)
        patience = self._config.takeover_seconds * random.uniform(1, 1.5)  # two that wait should not collide
        clock = asyncio.get_running_loop().time
        fine_at = clock()
        while clock() - fine_at < patience:
            await self._pass_on(_STANDBY_POLL_SECONDS)
            before = self._standing.position
            await self._learn()
            if self._standing.position > before or self._standing.position >= await self._outbox.look():
                fine_at = clock()
            self.proved = True
        self._log.info("relay takes over", position=self._standing.position, head=self._outbox.head)

    async def _pass_on(self, seconds: float) -> None:
        """Tell the relay at work of each commit made here, for a while."""
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        while await self._outbox.wait(end - clock()):
            await self._link.write(self._notice())

    async def _learn(self) -> None:
        self._stands(await self._stream.learn(self._standing))

    def _stands(self, standing: Standing) -> None:
        self._standing = standing
        self._moved(standing)

    def _notice(self) -> bytes:
        notice = HeadNotice(self._log_id, self._outbox.head)
        return encode_notice(HEAD, msgspec.json.encode(notice))

    def _on_notice(self, data: bytes) -> None:
        try:
            notice = msgspec.json.decode(data, type=HeadNotice)
        except msgspec.DecodeError:
            return
        if notice.log_id == self._log_id:
            self._outbox.heard(notice.position)
