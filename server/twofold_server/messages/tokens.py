"""The consistency token: how far a log must have been applied. Opaque to callers."""

from __future__ import annotations

import base64
import binascii

from google.protobuf.message import DecodeError

from twofold.v1.tokens_pb2 import ConsistencyToken, LogPosition
from twofold_server.errors import InvalidRequest

METADATA_KEY = "twofold-consistency-token"


def consistency_token(log_id: str, position: int) -> str:
    """The token that says: at least ``position`` of log ``log_id``."""
    token = ConsistencyToken(logs=[LogPosition(log_id=log_id, position=position)])
    return base64.urlsafe_b64encode(token.SerializeToString()).rstrip(b"=").decode()


def token_position(token: str, log_id: str) -> int:
    """The position that a token asks for in log ``log_id``; 0 for an empty token.

    Raises InvalidRequest where the token is none, or was given by another log.
    """
    if not token:
        return 0
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        logs = ConsistencyToken.FromString(raw).logs
    except (binascii.Error, DecodeError, ValueError):
        raise _refused(
            "is not a consistency token; use the one of a receipt or an answer as it was sent"
        ) from None
    if len(logs) != 1 or logs[0].position < 0:
        raise _refused("is not a consistency token; use the one of a receipt or an answer as it was sent")
    if logs[0].log_id != log_id:
        raise _refused("was given by another event log than the one behind this read model")
    return logs[0].position


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"consistency_token {why}",
        violations=[("read_options.consistency_token", why)],
        reason="INVALID_CONSISTENCY_TOKEN",
    )
