"""How the relay works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RelayConfig:
    """What an operator or a test decides about the relay and its stream."""

    servers: Sequence[str]
    """The NATS servers, as URLs."""
    replicas: int = 1
    """Copies of the stream in the NATS cluster."""
    max_age_seconds: float = 0
    """How long the stream keeps a message; 0 is for ever."""
    from_position: int = 1
    """The first log position that a stream gets which this relay creates."""
    max_backlog: int = 10_000
    """Events that are kept in memory while they wait; beyond it they are read from the log."""
    max_backlog_bytes: int = 32 * 1024 * 1024
    """The data that is kept in memory likewise."""
    max_window: int = 200
    """Events that are published in one write: a millisecond of CPU, which nobody else gets meanwhile."""
    max_window_bytes: int = 1024 * 1024
    """The data that is published in one write, unless one event alone is bigger."""
    ack_seconds: float = 5
    """How long an answer of JetStream is waited for."""
    check_seconds: float = 2
    """How often the stream and the log are looked at while there is nothing to publish."""
    takeover_seconds: float = 2
    """How long the stream may stay behind the log before a relay that stands by takes over."""
    max_pause_seconds: float = 5
    """The longest pause between two attempts to go on after a fault."""
