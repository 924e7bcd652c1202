"""Verification in the background: a few rows a second, so that what is wrong is noticed by itself."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import structlog

from twofold_server.errors import Unavailable
from twofold_server.projections.proof.differences import Difference
from twofold_server.projections.proof.draw import Drawn
from twofold_server.projections.proof.replay import Place
from twofold_server.projections.proof.verifier import Verifier
from twofold_server.projections.sources import LogAway
from twofold_server.projections.status import ProjectionStatus

HEALTH_NAME = "twofold.proof"
"""The name in the health service: NOT_SERVING while rows are known to differ from the log."""
AGAIN = 5
"""Rows known to be wrong that are looked at again with each step: they may have been mended."""
MOST_KEPT = 1000
"""Rows known to be wrong that are remembered for each projection."""

_Wrong = dict[Place, Difference]


class Patrol:
    """Goes through the rows that come out of one stream each, projection after projection, for ever."""

    def __init__(self, verifiers: Mapping[str, Verifier], *, rows_per_second: float) -> None:
        """0 rows a second is none at all."""
        self._verifiers = {name: each for name, each in verifiers.items() if each.tells_streams}
        self._rate = rows_per_second
        self._wrong: dict[str, _Wrong] = defaultdict(dict)

    @property
    def trouble(self) -> str:
        """Which rows are wrong, in plain words; empty while none is known."""
        return "; ".join(filter(None, map(self.trouble_of, self._verifiers)))

    def trouble_of(self, projection: str) -> str:
        """Which rows of a projection are wrong, in plain words; empty while none is known."""
        wrong = self._wrong[projection]
        if not wrong:
            return ""
        first = next(iter(wrong.values()))
        return (
            f"not what the log makes of it: {first}"
            + (f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else "")
            + f"; see `twofold projections verify {projection}`"
        )

    async def noted(
        self, status: Callable[[], Awaitable[Sequence[ProjectionStatus]]]
    ) -> list[ProjectionStatus]:
        """How projections are, what is wrong with their rows included."""
        return [
            replace(each, trouble="; ".join(filter(None, (each.trouble, self.trouble_of(each.name)))))
            for each in await status()
        ]

    async def run(self) -> None:
        """Until cancelled."""
        if not self._rate or not self._verifiers:
            return
        together = max(1, round(self._rate))
        while True:
            for name in self._verifiers:
                await asyncio.sleep(together / self._rate)
                await self._step(name, together)

    async def _step(self, name: str, count: int) -> None:
        try:
            await self.look(name, count)
        except (LogAway, Unavailable):
            pass  # whoever is away is told of elsewhere
        except Exception:
            structlog.get_logger().exception("verification failed", projection=name)

    async def look(self, name: str, count: int) -> None:
        """Look at the next rows of a projection; raises LogAway, Unavailable."""
        verifier, wrong = self._verifiers[name], self._wrong[name]
        again = dict(islice(wrong.items(), AGAIN))
        drawn = _with(await verifier.next_rows(count), again, verifier)
        found = await verifier.differences(drawn)
        for place in again:  # to the end, so that all take turns
            known = wrong.pop(place)
            if place in found:
                wrong[place] = found[place]
            else:
                structlog.get_logger().info("row right again", projection=name, row=str(known))
        for place, difference in found.items():
            self._note(name, place, difference)

    def _note(self, name: str, place: Place, difference: Difference) -> None:
        wrong = self._wrong[name]
        if place not in wrong and len(wrong) < MOST_KEPT:
            structlog.get_logger().error(
                "row is not what the log makes of it", projection=name, row=str(difference)
            )
            wrong[place] = difference


def _with(drawn: Drawn, places: Iterable[Place], verifier: Verifier) -> Drawn:
    together = {stream: set(known) for stream, known in drawn.items()}
    for place in places:
        together.setdefault(verifier.stream_of(place), set()).add(place)
    return together
