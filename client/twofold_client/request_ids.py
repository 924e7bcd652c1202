"""Request ids: what makes a command that is sent again take effect once."""

from __future__ import annotations

import secrets
import time
import uuid


def request_id() -> str:
    """A new request id: a UUIDv7 (RFC 9562, section 5.7), so that ids made later sort later."""
    milliseconds, random = time.time_ns() // 1_000_000, secrets.randbits(74)
    high, low = random >> 62, random & (1 << 62) - 1
    return str(uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))
