"""A switch that queries get in the way of is tried again, so that it never holds them up for long."""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial

from twofold_server.database import Database
from twofold_server.errors import Unavailable
from twofold_server.projections.builds import switch
from twofold_server.projections.checkpoints import Checkpoint

PATIENCE_SECONDS = 30.0
"""How long a switch is tried."""
PAUSE_SECONDS = 0.1
"""About how long queries are left alone between two tries."""


async def switch_patiently(
    database: Database, projection: str, build: int, *, behind: bool = False
) -> Checkpoint:
    """Let queries read another build (see builds); raises Unavailable where it could not be done in time."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await database.write(partial(switch, projection=projection, build=build, behind=behind))
        except Unavailable:
            if time.monotonic() > give_up:
                raise
        await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
