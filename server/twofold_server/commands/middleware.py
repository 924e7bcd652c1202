"""The middleware that ships with the command bus."""

from __future__ import annotations

import time
from typing import Any

import structlog

from twofold_server.commands.bus import Middleware, Next
from twofold_server.commands.call import CommandCall, CommandResult
from twofold_server.errors import TwofoldError


def logging_outcomes() -> Middleware:
    """One line a command: what was asked, what came of it, how long it took."""
    log = structlog.get_logger().bind()

    async def log_outcome(call: CommandCall, proceed: Next) -> CommandResult:
        started = time.perf_counter()
        try:
            result = await proceed(call)
        except TwofoldError as error:
            log.info("command", outcome=error.reason, **_facts(call, started), **_but_known(error.metadata))
            raise
        except BaseException as error:
            log.info("command", outcome=type(error).__name__, **_facts(call, started))
            raise
        receipt = result.receipt
        outcome = "replayed" if receipt.replayed else "ok"
        log.info(
            "command",
            outcome=outcome,
            version=receipt.version,
            position=receipt.position,
            **_facts(call, started),
        )
        return result

    return log_outcome


def _facts(call: CommandCall, started: float) -> dict[str, Any]:
    return {
        "method": call.contract.method,
        "aggregate_id": call.aggregate_id,
        "request_id": call.command_id,
        "correlation_id": call.metadata.correlation_id,
        "ms": round((time.perf_counter() - started) * 1000, 2),
    }


def _but_known(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key not in ("method", "request_id", "outcome")}
