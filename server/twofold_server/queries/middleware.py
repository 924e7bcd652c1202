"""The middleware that ships with the query bus."""

from __future__ import annotations

import time
from typing import Any

import structlog
from google.protobuf.message import Message

from twofold_server.errors import TwofoldError
from twofold_server.queries.bus import Middleware, Next
from twofold_server.queries.call import QueryCall


def logging_answers() -> Middleware:
    """One line a query, below the usual level: what was asked, what came of it, how long it took."""
    log = structlog.get_logger().bind()

    async def log_outcome(call: QueryCall, proceed: Next) -> Message:
        started = time.perf_counter()
        outcome = "ok"
        try:
            return await proceed(call)
        except BaseException as error:
            outcome = error.reason if isinstance(error, TwofoldError) else type(error).__name__
            raise
        finally:
            log.debug("query", outcome=outcome, **_facts(call, started))

    return log_outcome


def _facts(call: QueryCall, started: float) -> dict[str, Any]:
    return {
        "method": call.contract.method,
        "correlation_id": call.correlation_id,
        "ms": round((time.perf_counter() - started) * 1000, 2),
    }
