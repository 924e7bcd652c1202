"""The middleware that ships with the command bus."""

from __future__ import annotations

import time
from typing import Any

from twofold_server.commands.bus import Middleware, Next
from twofold_server.commands.call import CommandCall, CommandResult
from twofold_server.commands.metrics import CommandMetrics
from twofold_server.errors import TwofoldError
from twofold_server.logs import CallLog


def observing(metrics: CommandMetrics) -> Middleware:
    """Each command is counted, timed and told in one line: what was asked, what came of it."""
    log = CallLog()

    async def observe(call: CommandCall, proceed: Next) -> CommandResult:
        started = time.perf_counter()
        try:
            result = await proceed(call)
        except BaseException as error:
            outcome = error.reason if isinstance(error, TwofoldError) else type(error).__name__
            told = error.metadata if isinstance(error, TwofoldError) else {}
            _tell(call, started, outcome, told)
            raise
        receipt = result.receipt
        outcome = "replayed" if receipt.replayed else "ok"
        _tell(call, started, outcome, {"version": receipt.version, "position": receipt.position})
        return result

    def _tell(call: CommandCall, started: float, outcome: str, told: dict[str, Any]) -> None:
        seconds = time.perf_counter() - started
        metrics.count(outcome, seconds)
        if log.enabled:
            facts = {
                "method": call.contract.method,
                "outcome": outcome,
                "ms": round(seconds * 1000, 2),
                "aggregate_id": call.aggregate_id,
                "request_id": call.command_id,
                "correlation_id": call.metadata.correlation_id,
            }
            log.info("command", {**told, **facts})

    return observe
