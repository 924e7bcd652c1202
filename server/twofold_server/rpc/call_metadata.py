"""What callers say beside their message, in gRPC metadata."""

from __future__ import annotations

from typing import Any

from twofold_server.errors import InvalidRequest
from twofold_server.messages.tokens import METADATA_KEY as TOKEN

CORRELATION_ID = "twofold-correlation-id"
CAUSATION_ID = "twofold-causation-id"
ACTOR = "twofold-actor"
TRACEPARENT = "traceparent"
IS_STALE = ("twofold-stale", "true")
"""Trailing metadata of an answer that is older than the token asked for."""
MAX_LENGTH = 255
"""Characters that the log keeps of each."""

__all__ = ["ACTOR", "CAUSATION_ID", "CORRELATION_ID", "IS_STALE", "TOKEN", "TRACEPARENT", "read_metadata"]


def read_metadata(context: Any) -> dict[str, str]:
    """The text metadata of a call; raises InvalidRequest where one of ours is too long to be stored."""
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    for key in (CORRELATION_ID, CAUSATION_ID, ACTOR, TRACEPARENT):
        if len(metadata.get(key, "")) > MAX_LENGTH:
            why = f"is longer than {MAX_LENGTH} characters"
            raise InvalidRequest(f"metadata {key} {why}", violations=[(key, why)])
    return metadata
