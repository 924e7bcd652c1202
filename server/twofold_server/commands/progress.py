"""How far projections are, as the command server hears it: for ``wait_for``, and for back-pressure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import msgspec

SUBJECT = "twofold.progress.*"


class _Notice(msgspec.Struct):
    log_id: str
    position: int


class ProjectionProgress:
    """The position of each projection of one log; projectors repeat it about every second."""

    def __init__(self, log_id: str) -> None:
        self._log_id = log_id
        self._positions: dict[str, int] = {}
        self._heard = asyncio.Condition()

    @property
    def positions(self) -> Mapping[str, int]:
        """The last known position of each projection that was heard of."""
        return self._positions

    async def heard(self, subject: str, data: bytes) -> None:
        """Take in a notice; raises msgspec.MsgspecError where it is none."""
        notice = msgspec.json.decode(data, type=_Notice)
        if notice.log_id == self._log_id:
            self._positions[subject.rpartition(".")[2]] = notice.position
            async with self._heard:
                self._heard.notify_all()

    async def reach(self, projection: str, position: int, seconds: float) -> bool:
        """Wait until a projection has applied a position, at most so many seconds; whether it has."""

        def reached() -> bool:
            return self._positions.get(projection, 0) >= position

        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)), self._heard:
                await self._heard.wait_for(reached)
        return reached()


def too_far_behind(limits: Mapping[str, int], positions: Mapping[str, int], head: int) -> str:
    """Which projection is further behind the log than its limit, in plain words; empty for none.

    One that was never heard of counts as being where its limit lets it: it may just not run yet.
    """
    for projection, limit in limits.items():
        behind = head - positions.get(projection, head)
        if behind > limit:
            return f"the read model {projection} is {behind} events behind, the limit is {limit}"
    return ""
