"""``wait_for`` and ``immediate``: the receipt is sent when projections have applied the command."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from twofold_server.commands.bus import Middleware, Next
from twofold_server.commands.call import CommandCall, CommandResult
from twofold_server.commands.progress import ProjectionProgress
from twofold_server.errors import InvalidRequest, ProjectionLag

MAX_WAIT_SECONDS = 5.0
"""How long the receipt waits when the caller has no deadline, or a later one."""
MARGIN_SECONDS = 0.05
"""What is kept of the caller's time for the answer itself."""


def waiting_for_projections(
    progress: ProjectionProgress, projections: Collection[str], *, immediate: Sequence[str] = ()
) -> Middleware:
    """Wait for the projections that a command names, and for those that all commands wait for.

    ``projections`` are those that exist, ``immediate`` those of them that are waited for unasked.
    """

    async def wait(call: CommandCall, proceed: Next) -> CommandResult:
        named = call.command.options.wait_for
        if not (named or immediate) or call.command.options.validate_only:
            return await proceed(call)
        if named:
            _check(call, named, projections)
        give_up = time.monotonic() + _patience(call)
        result = await proceed(call)
        late: list[str] = []
        for name in dict.fromkeys([*named, *immediate]):
            if await progress.reach(name, result.receipt.position, give_up - time.monotonic()):
                continue
            if call.request_id:
                raise _too_late(name, result, progress.positions.get(name, 0))
            late.append(name)
        return _owning_up(call, result, late) if late else result

    return wait


def _owning_up(call: CommandCall, result: CommandResult, late: Sequence[str]) -> CommandResult:
    """A receipt that says who was late: its caller could not ask again, so it must not be lost."""
    response: Any = call.contract.response.FromString(result.response)
    response.receipt.late_projections.extend(late)
    return CommandResult(response.SerializeToString(), response.receipt)


def _patience(call: CommandCall) -> float:
    if call.time_remaining is None:
        return MAX_WAIT_SECONDS
    return min(MAX_WAIT_SECONDS, call.time_remaining - MARGIN_SECONDS)


def _check(call: CommandCall, names: Collection[str], projections: Collection[str]) -> None:
    unknown = [name for name in names if name not in projections]
    if unknown:
        why = f"there is no projection {unknown[0]}; there are {', '.join(sorted(projections))}"
        raise InvalidRequest(why, violations=[("options.wait_for", why)], reason="UNKNOWN_PROJECTION")
    if not call.request_id:
        # The wait may be in vain although the command is stored. Only with an id is asking again safe.
        why = "is needed together with wait_for, so that it is safe to ask again"
        raise InvalidRequest(f"request_id {why}", violations=[("request_id", why)])


def _too_late(name: str, result: CommandResult, have: int) -> ProjectionLag:
    lag = ProjectionLag(name, want=result.receipt.position, have=have)
    lag.message = (
        f"the command is stored at position {result.receipt.position}, but {name} has not applied it yet; "
        "send it again with the same request_id to wait on"
    )
    lag.metadata |= {"stored": "true", "aggregate_id": result.receipt.aggregate_id}
    return lag
