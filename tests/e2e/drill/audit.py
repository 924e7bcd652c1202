"""Whether what callers were told is what the log, the stream and the read model say."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from tests.e2e.drill.journal import Acknowledged, Journal
from tests.e2e.drill.watchers import STREAM, Watch
from twofold.v1.recorded_event_pb2 import RecordedEvent

Findings = dict[str, int]
"""How many of each fault were found."""


def audit_log(log: Sequence[RecordedEvent], journal: Journal) -> Findings:
    """The log against itself, and against what callers were told."""
    by_request = _by_request(log)
    return {
        "acknowledged but lost": sum(not by_request[told.request_id] for told in journal.done.values()),
        "applied twice": sum(len(events) > 1 for events in by_request.values()),
        "acknowledged otherwise than stored": sum(
            _differs(told, by_request[told.request_id]) for told in journal.done.values()
        ),
        "refused but stored": sum(bool(by_request[request_id]) for request_id in journal.refused),
        "stored but never asked for": _strangers(by_request, journal),
        "holes in positions": _holes([event.position for event in log]),
        "holes in stream versions": sum(_holes(versions) for versions in _versions(log).values()),
        "event ids used twice": len(log) - len({event.event_id for event in log}),
        "contradictions": len(journal.contradictions),
        "stale reads": journal.counts["read back stale"],
    }


def _by_request(log: Sequence[RecordedEvent]) -> dict[str, list[RecordedEvent]]:
    found: dict[str, list[RecordedEvent]] = defaultdict(list)
    for event in log:
        found[event.metadata.causation_id].append(event)
    return found


def _differs(told: Acknowledged, events: Sequence[RecordedEvent]) -> bool:
    stored = [(event.stream_name, event.stream_version, event.position) for event in events]
    return bool(events) and (f"order-{told.order_id}", told.version, told.position) not in stored


def _strangers(by_request: dict[str, list[RecordedEvent]], journal: Journal) -> int:
    known = journal.done.keys() | journal.refused.keys()
    return sum(bool(events) and request_id not in known for request_id, events in by_request.items())


def _holes(numbers: Sequence[int]) -> int:
    return sum(number != n for n, number in enumerate(numbers, start=1))


def _versions(log: Sequence[RecordedEvent]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for event in log:
        found[event.stream_name].append(event.stream_version)
    return found


def audit_watch(who: str, watch: Watch, log: Sequence[RecordedEvent]) -> Findings:
    """What a reader saw live against the log."""
    other = sum(seen != event.event_id for seen, event in zip(watch.event_ids, log, strict=False))
    return {
        f"missed by {who}": watch.missed + max(0, len(log) - watch.last),
        f"repeated to {who}": watch.repeated,
        f"other events seen by {who}": other - watch.missed,
    }


async def audit_stream(js: JetStreamContext, log: Sequence[RecordedEvent]) -> Findings:
    """The whole of JetStream against the log: each position once, in order."""
    stored = await _stored_in(js)
    wanted = [(event.position, event.event_id) for event in log]
    return {
        "events missing in JetStream": len(set(wanted) - set(stored)),
        "events twice in JetStream": len(stored) - len(set(stored)),
        "strange events in JetStream": len(set(stored) - set(wanted)),
        "events out of order in JetStream": int(sorted(stored) != stored),
    }


async def _stored_in(js: JetStreamContext) -> list[tuple[int, str]]:
    left = (await js.stream_info(STREAM)).state.messages
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE)
    subscription = await js.pull_subscribe("", stream=STREAM, config=config)
    found: list[tuple[int, str]] = []
    while len(found) < left:
        for message in await subscription.fetch(500, timeout=10):
            headers = message.headers or {}
            found.append((int(headers["ce-position"]), headers["ce-id"]))
    await subscription.unsubscribe()
    return found


def audit_database(database: Path, log: Sequence[RecordedEvent]) -> Findings:
    """The tables of a log in SQLite against what EventService says, once nobody writes any more."""
    with closing(sqlite3.connect(database)) as connection:
        [(count, last)] = connection.execute("SELECT COUNT(*), MAX(position) FROM events").fetchall()
        damage = connection.execute("PRAGMA integrity_check").fetchall()
    return {
        "events that EventService does not show": abs(count - len(log)) + abs((last or 0) - len(log)),
        "damage to the database": int(damage != [("ok",)]),
    }
