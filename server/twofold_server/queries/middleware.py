"""The middleware that ships with the query bus."""

from __future__ import annotations

import time
from typing import Any

from twofold_server.errors import TwofoldError
from twofold_server.logs import CallLog
from twofold_server.queries.answer import Answer
from twofold_server.queries.bus import Middleware, Next
from twofold_server.queries.call import QueryCall


def logging_answers() -> Middleware:
    """One line a query: what was asked, what came of it, how long it took."""
    log = CallLog()

    async def log_outcome(call: QueryCall, proceed: Next) -> Answer:
        started = time.perf_counter()
        outcome = "ok"
        try:
            return await proceed(call)
        except BaseException as error:
            outcome = error.reason if isinstance(error, TwofoldError) else type(error).__name__
            raise
        finally:
            if log.enabled:
                log.info("query", _facts(call, started, outcome))

    return log_outcome


def _facts(call: QueryCall, started: float, outcome: str) -> dict[str, Any]:
    return {
        "method": call.contract.method,
        "outcome": outcome,
        "correlation_id": call.correlation_id,
        "ms": round((time.perf_counter() - started) * 1000, 2),
    }
