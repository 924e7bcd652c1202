"""SQLite files, as several processes meet them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from twofold_server.database import open_database

AT_ONCE, FILES = 8, 200


def test_many_open_a_new_file_at_the_same_moment(tmp_path: Path) -> None:
    ready = Barrier(AT_ONCE)

    async def open_it(number: int) -> None:
        ready.wait()
        async with open_database(f"sqlite+aiosqlite:///{tmp_path}/{number}.db", readers=0):
            pass

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for number in range(FILES):
            list(threads.map(lambda n: asyncio.run(open_it(n)), [number] * AT_ONCE))
