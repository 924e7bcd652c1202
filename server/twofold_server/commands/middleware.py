"""The middleware that ships with the command bus."""

from __future__ import annotations

import time
from typing import Any

import structlog

from twofold_server.commands.bus import Next
from twofold_server.commands.call import CommandCall, CommandResult
from twofold_server.errors import TwofoldError

_log = structlog.get_logger("command")


async def log_outcome(call: CommandCall, proceed: Next) -> CommandResult:
    """One line a command: who asked for what, and what came of it."""
    started = time.perf_counter()
    try:
        result = await proceed(call)
    except TwofoldError as error:
        _log.info(call.contract.method, outcome=error.reason, **_facts(call, started), **error.metadata)
        raise
    except BaseException as error:
        _log.info(call.contract.method, outcome=type(error).__name__, **_facts(call, started))
        raise
    receipt = result.receipt
    _log.info(
        call.contract.method,
        outcome="replayed" if receipt.replayed else "ok",
        version=receipt.version,
        position=receipt.position,
        **_facts(call, started),
    )
    return result


def _facts(call: CommandCall, started: float) -> dict[str, Any]:
    return {
        "aggregate_id": call.aggregate_id,
        "request_id": call.command_id,
        "correlation_id": call.metadata.correlation_id,
        "ms": round((time.perf_counter() - started) * 1000, 2),
    }
