"""The JetStream stream of all events: created when missing, and asked how far it is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig, StreamInfo
from nats.js.errors import BadRequestError, NotFoundError

from twofold_server.event_store.store import EventStore
from twofold_server.publishing.config import RelayConfig
from twofold_server.publishing.headers import published_position, source_of
from twofold_server.publishing.subjects import ALL_EVENTS

STREAM = "TWOFOLD_EVENTS"
"""The name of the stream."""

_DUPLICATE_WINDOW_SECONDS = 120.0
_NAME_IN_USE = 10058


class Diverged(Exception):
    """The stream holds what the log does not: the log was restored, or the stream is another log's."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the stream is."""

    sequence: int
    """The sequence of its last message: what the next one must follow."""
    position: int
    """The log position of its last event. The same number, unless strangers published to the stream."""


class EventStream:
    """The stream, as one connection sees it. Methods raise nats.errors.Error, OSError and Unavailable."""

    def __init__(self, js: JetStreamContext, store: EventStore, config: RelayConfig) -> None:
        self._js = js
        self._store = store
        self._config = config

    async def ensure(self) -> None:
        """Create the stream, or bring what may be changed of it up to date."""
        wanted = self._wanted()
        try:
            config = (await self._js.stream_info(STREAM)).config
        except NotFoundError:
            await self._create()
            return
        if any(getattr(config, name) != value for name, value in wanted.items()):
            await self._js.update_stream(config, **wanted)

    async def recreate(self) -> None:
        """Delete the stream with all its consumers, and create it from the configured position on."""
        while True:
            with contextlib.suppress(NotFoundError):
                await self._js.delete_stream(STREAM)
            await self._create()
            # A relay at work may have missed it too, and been faster with another beginning.
            config = (await self._js.stream_info(STREAM)).config
            if (config.first_seq or 1) == self._config.from_position:
                return

    def _wanted(self) -> dict[str, object]:
        """What may be changed of a stream later."""
        return {
            "num_replicas": self._config.replicas,
            "max_age": self._config.max_age_seconds,
            "duplicate_window": _DUPLICATE_WINDOW_SECONDS,
            "allow_direct": True,
            "allow_atomic": True,
        }

    async def _create(self) -> None:
        # Sequence and position are the same number, so that a consumer can be started at a position.
        first = min(self._config.from_position, await self._store.head() + 1)
        try:
            await self._js.add_stream(
                StreamConfig(
                    name=STREAM,
                    description=f"Every event of Twofold log {self._store.log_id}, in order.",
                    subjects=[ALL_EVENTS],
                    storage=StorageType.FILE,
                    deny_delete=True,
                    first_seq=first,
                ),
                **self._wanted(),
            )
        except BadRequestError as error:
            if error.err_code != _NAME_IN_USE:  # else another relay was faster
                raise

    async def last_sequence(self) -> int:
        """The sequence of the last message."""
        return (await self._js.stream_info(STREAM)).state.last_seq

    async def learn(self, known: Standing) -> Standing:
        """How far the stream is; raises Diverged where it does not continue with this log.

        ``known`` is how far it was: it says more than a stream that has been purged since.
        """
        info = await self._js.stream_info(STREAM)
        position, event_id, source = await self._last_event(info, known)
        # The head is read after the stream: what the stream has then, the log had before.
        head = await self._store.head()
        if source not in ("", source_of(self._store.log_id)):
            why = f"is of another log, {source}, while this log {self._store.log_id} is at {head}"
        elif position > head:
            why = f"is ahead of the log, which is at {head}: the log was restored from an older copy"
        elif event_id and not await self._log_has(position, event_id):
            why = f"has another event there than the log, which is at {head}: the log was restored"
        else:
            return Standing(info.state.last_seq, position)
        raise Diverged(
            f"the stream {STREAM}, at position {position}, {why}. Delete it to have it filled again"
        )

    async def _log_has(self, position: int, event_id: str) -> bool:
        return [e.event_id for e in await self._store.read_events(position - 1, limit=1)] == [event_id]

    async def _last_event(self, info: StreamInfo, known: Standing) -> tuple[int, str, str]:
        """Position, id and source of the last event; id and source are empty without one."""
        state = info.state
        if state.messages:
            for sequence in range(state.last_seq, state.first_seq - 1, -1):
                try:
                    # From the leader, not `direct`: a replica may be behind.
                    message = await self._js.get_msg(STREAM, sequence)
                except NotFoundError:
                    continue
                headers = message.headers or {}
                position = published_position(headers)
                if position is not None:
                    return position, headers.get("ce-id", ""), headers.get("ce-source", "")
            return self._config.from_position - 1, "", ""
        # Empty: new, purged, or everything in it is too old. It goes on from where it was.
        return (known.position if state.last_seq == known.sequence else state.last_seq), "", ""
