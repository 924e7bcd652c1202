"""One connection to NATS, from its opening to its loss."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError
from nats.js.errors import NoStreamResponseError

_CONNECT_SECONDS = 5
_CLOSE_SECONDS = 2


class AckError(msgspec.Struct):
    """Why a message was refused."""

    err_code: int = 0
    description: str = ""


class Ack(msgspec.Struct):
    """JetStream's answer to a published message."""

    seq: int = 0
    duplicate: bool = False
    error: AckError | None = None


class Link:
    """A connection that never reconnects by itself.

    A client that reconnects sends what it had buffered, after the relay has learnt anew where the stream
    stands; so the relay opens a new connection instead. Methods raise nats.errors.Error, or OSError.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._inbox = client.new_inbox()
        self._reply = ""
        self._answer: asyncio.Future[Msg] | None = None

    @property
    def max_payload(self) -> int:
        """The bytes that headers and data of a message may have together."""
        return self.client.max_payload

    async def listen(self, subject: str, heard: Callable[[bytes], None]) -> None:
        """Hand over the data of each message on a subject."""

        async def on_message(message: Msg) -> None:
            heard(message.data)

        await self.client.subscribe(subject, cb=on_message)
        await self.client.subscribe(f"{self._inbox}.*", cb=self._on_answer)

    async def request(self, encode: Callable[[str], bytes], seconds: float) -> Ack:
        """Write what ``encode`` makes of a reply subject, and wait for the answer; one request at a time."""
        self._reply = f"{self._inbox}.{int(self._reply.rpartition('.')[2] or 0) + 1}"
        self._answer = asyncio.get_running_loop().create_future()
        try:
            await self.write(encode(self._reply))
            async with asyncio.timeout(seconds):
                message = await self._answer
        finally:
            self._answer = None
        if not message.data:  # "no responders": the stream is gone
            raise NoStreamResponseError
        return msgspec.json.decode(message.data, type=Ack)

    async def write(self, commands: bytes) -> None:
        """Write NATS protocol.

        `Client.publish` takes ten times as long for a message, hence the private methods: nats-py is pinned
        to the minor version, and tests/integration/test_relay.py notices when they change.
        """
        if not self.client.is_connected:
            raise ConnectionClosedError
        await self.client._send_command(commands)
        await self.client._flush_pending()

    def lose(self) -> None:
        """Tell who waits for an answer that none will come."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionClosedError())

    async def _on_answer(self, message: Msg) -> None:
        if message.subject == self._reply and self._answer is not None and not self._answer.done():
            self._answer.set_result(message)


@asynccontextmanager
async def connected(servers: Sequence[str]) -> AsyncIterator[Link]:
    """A connection to one of the servers; raises nats.errors.Error or OSError where none answers."""
    log = structlog.get_logger().bind()
    client = Client()
    link = Link(client)

    async def on_error(error: Exception) -> None:
        log.debug("nats", error=str(error) or type(error).__name__)

    async def on_closed() -> None:
        link.lose()

    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await client.connect(
                list(servers),
                name="twofold-relay",
                error_cb=on_error,
                closed_cb=on_closed,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                ping_interval=10,
                no_echo=True,
            )
        yield link
    finally:
        await _close(client)


async def _close(client: Client) -> None:
    # A half-open client raises all sorts of things here, and one whose peer is stopped waits for ever.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.close()
