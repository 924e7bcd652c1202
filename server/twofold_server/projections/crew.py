"""The workers of a rebuild, as the projector sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twofold_server.projections.parts import Part


class WorkersFailed(Exception):
    """Workers ended before their parts were done; says how."""


class Crew(Protocol):
    """Makes workers, each a process of its own that ends with this one."""

    async def fold(self, parts: Sequence[Part], *, pause: float, tell: Callable[[int, int], None]) -> None:
        """Let a worker fold each part up to its target, and wait until all have.

        ``tell`` hears the number of a part and how far it is. A cancelled call ends its workers. Raises
        WorkersFailed.
        """
