"""A database file that was replaced while it is open: whoever writes it writes into nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sqlalchemy import make_url

LOOK_SECONDS = 0.5
"""How often the file is looked at."""


async def until_replaced(url: str) -> Path:
    """Wait until the SQLite file of a URL is gone or another one; its path. Never for other databases."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        await asyncio.Event().wait()
    path = Path(parsed.database or "")
    opened = identity(path)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if identity(path) != opened:
            return path


def identity(path: Path) -> tuple[int, int] | None:
    """What a file is, whatever it is called; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
