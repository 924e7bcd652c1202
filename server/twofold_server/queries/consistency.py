"""How fresh an answer must be, and how fresh it is."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from twofold.v1.reading_pb2 import ON_STALE_FAIL, ReadInfo, ReadOptions
from twofold_server.messages.tokens import consistency_token, token_position
from twofold_server.queries.call import QueryCall
from twofold_server.queries.positions import Position
from twofold_server.queries.snapshots import Checkpoint

MAX_WAIT_SECONDS = 5.0
"""How long a token is waited for when the caller does not say."""
MARGIN_SECONDS = 0.05
"""What is kept of the caller's time for the answer itself."""


def has_token(call: QueryCall) -> bool:
    """Whether the caller asks for a certain freshness."""
    return bool(call.token or call.request.read_options.consistency_token)


def wanted_position(call: QueryCall, log_id: str) -> int:
    """The position that the caller's tokens ask for, the greater of both; raises InvalidRequest."""
    in_request = call.request.read_options.consistency_token
    return max(token_position(in_request, log_id), token_position(call.token, log_id))


def patience(call: QueryCall) -> float:
    """How long the caller lets us wait for the token, in seconds."""
    options: ReadOptions = call.request.read_options
    wait = MAX_WAIT_SECONDS
    if options.HasField("max_wait"):
        wait = options.max_wait.seconds + options.max_wait.nanos / 1e9
    if call.time_remaining is not None:
        wait = min(wait, call.time_remaining - MARGIN_SECONDS)
    return max(0.0, wait)


def fails_when_stale(call: QueryCall) -> bool:
    """Whether the caller wants an error rather than a stale answer."""
    return bool(call.request.read_options.on_stale == ON_STALE_FAIL)


def read_info(checkpoint: Checkpoint, known: Position) -> ReadInfo:
    """How fresh a snapshot is; whether it is stale depends on who asked."""
    seconds, positions = known.lag(checkpoint)
    return ReadInfo(
        position=checkpoint.position,
        lag=Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)),
        lag_positions=positions,
        parked_keys=checkpoint.parked,
        consistency_token=consistency_token(checkpoint.log_id, checkpoint.position),
    )
