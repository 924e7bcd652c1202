"""The headers of a published event: CloudEvents 1.0 in binary mode, and back.

Source: CloudEvents NATS protocol binding 1.0.3, sections 3.1.2 and 3.1.3 (names, percent-encoding).
``ce-position``, ``ce-streamversion``, ``ce-revision``, ``ce-correlationid``, ``ce-causationid`` and
``ce-actor`` are extensions, the last three left out when empty; ``traceparent`` is the plain W3C header, and
``Nats-Msg-Id`` the event's id. These names are on the wire for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, unquote

from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import EventMetadata

DATA_REFERENCE = "ce-dataref"
"""CloudEvents' claim check: stands where the data was too big for NATS, and names where the log has it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Everything else is percent-encoded: quotes, spaces, the percent sign, all that is not ASCII.
_SAFE = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_all_safe = re.compile(r"[!#$&-~]*").fullmatch


def source_of(log_id: str) -> str:
    """``ce-source`` of every event of a log."""
    return f"/twofold/{log_id}"


def header_lines(event: RecordedEvent, source: str) -> str:
    """The headers as ASCII lines that each end in CRLF.

    Lines and not a dict: the relay shares the command server's event loop, and this is its hottest spot.
    """
    metadata = event.metadata
    stream_name, correlation_id, causation_id, actor, traceparent = _encoded(
        event.stream_name,
        metadata.correlation_id,
        metadata.causation_id,
        metadata.actor,
        metadata.traceparent,
    )
    lines = (
        f"Nats-Msg-Id: {event.event_id}\r\nce-specversion: 1.0\r\nce-id: {event.event_id}\r\n"
        f"ce-type: {event.type_name}\r\nce-source: {source}\r\nce-subject: {stream_name}\r\n"
        f"ce-time: {_rfc3339(event.recorded_at)}\r\nce-datacontenttype: application/protobuf\r\n"
        f"ce-position: {event.position}\r\nce-streamversion: {event.stream_version}\r\n"
        f"ce-revision: {event.revision}\r\n"
    )
    if correlation_id:
        lines += f"ce-correlationid: {correlation_id}\r\n"
    if causation_id:
        lines += f"ce-causationid: {causation_id}\r\n"
    if actor:
        lines += f"ce-actor: {actor}\r\n"
    if traceparent:
        lines += f"traceparent: {traceparent}\r\n"
    return lines


def recorded_event(headers: Mapping[str, str] | None, data: bytes) -> RecordedEvent | None:
    """The event in a message; None where the message is no event, or only refers to one that was too big.

    In either case the log has what belongs at that position: read it there.
    """
    if not headers or DATA_REFERENCE in headers:
        return None
    try:
        return RecordedEvent(
            int(headers["ce-position"]),
            _decoded(headers["ce-subject"]),
            int(headers["ce-streamversion"]),
            headers["ce-id"],
            headers["ce-type"],
            int(headers["ce-revision"]),
            data,
            EventMetadata(
                _decoded(headers.get("ce-correlationid", "")),
                _decoded(headers.get("ce-causationid", "")),
                _decoded(headers.get("ce-actor", "")),
                _decoded(headers.get("traceparent", "")),
            ),
            _microseconds(headers["ce-time"]),
        )
    except (KeyError, ValueError):
        return None


def published_position(headers: Mapping[str, str] | None) -> int | None:
    """The log position of a message; None where it is no event."""
    value = (headers or {}).get("ce-position", "")
    return int(value) if value.isascii() and value.isdigit() else None


def _encoded(*values: str) -> tuple[str, ...]:
    return values if _all_safe("".join(values)) else tuple(quote(value, safe=_SAFE) for value in values)


def _decoded(value: str) -> str:
    return unquote(value, errors="strict") if "%" in value else value


@lru_cache(maxsize=64)
def _rfc3339(microseconds: int) -> str:
    """A time in microseconds since 1970 as text; the events of one transaction share theirs."""
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")[:-6] + "Z"


@lru_cache(maxsize=64)
def _microseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
