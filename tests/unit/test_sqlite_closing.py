"""A SQLite database that was closed is gone, and nothing complains about it later."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from sqlalchemy import text

from twofold_server.database import open_database


async def test_nothing_of_a_closed_database_is_finalized_in_a_wrong_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path}/a.db") as database:
        await database.write(lambda c: c.execute(text("CREATE TABLE t (n)")))
        await database.read(lambda c: c.execute(text("SELECT * FROM t")).all())
    del database
    gc.collect()
    assert caplog.records == []
