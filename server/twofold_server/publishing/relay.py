"""The relay: publishes the log to JetStream, in order, each position once.

The log is the outbox, and what the relay remembers is one number, which it learns from the stream itself.
Committed events are handed over in memory; only after a fault, or when another command server wrote them, is
the log read. Every message carries the stream sequence that it must follow, so two relays cannot interleave,
and what is sent twice is stored once. While NATS is away nothing waits but the relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from nats.errors import Error as NatsError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential_jitter

from twofold_server.errors import Unavailable
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.store import EventStore
from twofold_server.publishing.config import RelayConfig
from twofold_server.publishing.link import Link, connected
from twofold_server.publishing.outbox import GapInLog, Outbox
from twofold_server.publishing.session import Refused, Session
from twofold_server.publishing.stream import Diverged, EventStream, Standing

_API_SECONDS = 2
"""How long an answer of JetStream's API is waited for; a new leader is elected in about that time."""


class Relay:
    """Publishes the log: ``run`` does the work, ``offer`` hands it what was committed."""

    def __init__(
        self,
        *,
        store: EventStore,
        config: RelayConfig,
        on_change: Callable[[bool], None] = lambda serving: None,
    ) -> None:
        """``on_change`` is called with the new value whenever ``serving`` changes."""
        self._store = store
        self._config = config
        self._on_change = on_change
        self._outbox = Outbox(store, config)
        self._standing = Standing(0, 0)
        self._level = asyncio.Event()
        self._log = structlog.get_logger().bind()
        self._proved = False
        self.serving = False
        """Whether events reach the stream, by this relay or by one that it stands by for."""
        self.problem = "the relay has not connected to NATS yet"
        """Why not, in plain words; empty while serving."""

    @property
    def position(self) -> int:
        """The last position that is known to be in the stream."""
        return self._standing.position

    @property
    def head(self) -> int:
        """The last position that is known to be in the log."""
        return self._outbox.head

    def offer(self, events: Sequence[RecordedEvent]) -> None:
        """Hand over what was just committed, in order of position; never waits, never fails."""
        self._level.clear()
        self._outbox.offer(events)

    async def drained(self) -> None:
        """Wait until everything that was committed is published; for ever while NATS is away."""
        while self.position < self.head:
            self._level.clear()
            await self._level.wait()

    async def run(self) -> None:
        """Publish for ever; cancel it to stop."""
        pauses = wait_exponential_jitter(multiplier=0.1, max=self._config.max_pause_seconds, jitter=0.1)
        while True:
            # Begun anew after each success, so that the pauses are short again.
            async for attempt in AsyncRetrying(wait=pauses, retry=retry_if_exception_type(_NothingAchieved)):
                with attempt:
                    await self._attempt()

    async def _attempt(self) -> None:
        self._proved = False
        try:
            async with connected(self._config.servers) as link:
                await self._publish_over(link)
        except (Diverged, Refused, GapInLog) as error:
            self._fails(str(error))
        except Unavailable as error:
            self._fails(f"the event log is away: {error}")
        except TimeoutError:
            self._fails("NATS does not answer")
        except (NatsError, OSError) as error:
            self._fails(f"NATS is away: {str(error) or type(error).__name__}")
        except Exception:
            # Any other: a relay that ended would do so unnoticed, while commands go on.
            self._log.exception("relay met an unexpected error")
            self._fails("an unexpected error of the relay, see the log")
        if not self._proved:
            raise _NothingAchieved

    async def _publish_over(self, link: Link) -> None:
        session = Session(
            link=link,
            stream=EventStream(link.client.jetstream(timeout=_API_SECONDS), self._store, self._config),
            outbox=self._outbox,
            log_id=self._store.log_id,
            config=self._config,
            moved=self._moved,
        )
        try:
            await session.begin(self._standing)
            self._serves()
            await session.publish()
        finally:
            self._proved = session.proved

    def _moved(self, standing: Standing) -> None:
        self._standing = standing
        if standing.position >= self._outbox.head:
            self._level.set()

    def _serves(self) -> None:
        self._log.info("relay publishes", position=self.position)
        self.problem = ""
        self._set_serving(True)

    def _fails(self, problem: str) -> None:
        if problem != self.problem:  # said once, not at each attempt
            self._log.error("relay is stopped", why=problem, position=self.position, head=self.head)
        self.problem = problem
        self._set_serving(False)

    def _set_serving(self, serving: bool) -> None:
        if serving != self.serving:
            self.serving = serving
            self._on_change(serving)


class _NothingAchieved(Exception):
    """An attempt failed before the stream took anything: the next one waits longer."""
