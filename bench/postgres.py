"""A PostgreSQL out of a wheel, that keeps its promises: each commit is synced to the disk."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from tests.postgres_server import PostgresServer

_UNSAFE = ("--fsync=off", "--full_page_writes=off")
_ROOMY = ("--shared_buffers=256MB", "--max_wal_size=4GB")


class _SyncedServer(PostgresServer):
    """The server of the tests, without what makes it fast and forgetful."""

    def _start(self, program: str, *arguments: str | Path, log: str) -> subprocess.Popen[bytes]:
        if program == "postgres":
            arguments = (*(each for each in arguments if each not in _UNSAFE), *_ROOMY)
        return super()._start(program, *arguments, log=log)


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """The URL of an empty database, whose server ends with the block."""
    server = _SyncedServer(folder)
    server.initialise()
    with server.running():
        asyncio.run(_create(server.dsn("postgres")))
        yield server.url("bench")


async def _create(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE DATABASE bench")
    finally:
        await connection.close()
