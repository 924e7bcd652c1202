"""A session: what its calls have seen, and what they say of themselves."""

from __future__ import annotations

import base64
import binascii

from google.protobuf.message import DecodeError

from twofold.v1.tokens_pb2 import ConsistencyToken, LogPosition

TOKEN = "twofold-consistency-token"
CORRELATION_ID = "twofold-correlation-id"
ACTOR = "twofold-actor"
MAX_LENGTH = 255


class Session:
    """Calls of one session read what earlier ones of it wrote or saw, on whichever server."""

    def __init__(self, *, actor: str = "", correlation_id: str = "", consistency_token: str = "") -> None:
        """Raises ValueError for text that does not fit in metadata.

        ``actor``: who acts; recorded with each event. ``correlation_id``: the conversation that the calls
        belong to; recorded likewise. ``consistency_token``: where another session, or another process, left
        off.
        """
        self.actor = _fits(actor, "actor")
        self.correlation_id = _fits(correlation_id, "correlation_id")
        self.consistency_token = consistency_token

    def metadata(self, *, reads: bool) -> list[tuple[str, str]]:
        """What a call says beside its message; only reads have to wait for what was seen."""
        said = [(ACTOR, self.actor), (CORRELATION_ID, self.correlation_id)]
        if reads:
            said.append((TOKEN, self.consistency_token))
        return [(key, value) for key, value in said if value]

    def saw(self, token: str) -> None:
        """Take in the token of an answer. The session never goes back, in whatever order answers come."""
        if token:
            self.consistency_token = _newer(self.consistency_token, token)


def _fits(text: str, name: str) -> str:
    if len(text) > MAX_LENGTH or not text.isascii() or not text.isprintable():
        raise ValueError(f"{name} must be printable ASCII of at most {MAX_LENGTH} characters, not {text!r}")
    return text


def _newer(ours: str, theirs: str) -> str:
    """The token for both; of different logs, or in a form that is not known here, the one that came last."""
    before, after = _positions(ours), _positions(theirs)
    if not before or before.keys() != after.keys():
        return theirs
    logs = [LogPosition(log_id=log, position=max(position, after[log])) for log, position in before.items()]
    merged = ConsistencyToken(logs=logs).SerializeToString()
    return base64.urlsafe_b64encode(merged).rstrip(b"=").decode()


def _positions(token: str) -> dict[str, int]:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        return {log.log_id: log.position for log in ConsistencyToken.FromString(raw).logs}
    except (binascii.Error, DecodeError, ValueError):
        return {}
