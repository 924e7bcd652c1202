"""One process of a kind for each data folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from twofold_server.errors import StartupError


@contextmanager
def lock_data_dir(folder: Path, role: str) -> Iterator[None]:
    """Hold the data folder for a role, creating it where it is missing; raises StartupError.

    The operating system lets go of the lock when the process ends, however it ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{role}.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise StartupError(
            f"the data folder {folder.absolute()} is in use by another {role} (pid {_owner(folder, role)}); "
            "stop it or set TWOFOLD_DATA_DIR"
        ) from None
    except OSError as error:
        raise StartupError(
            f"the data folder {folder.absolute()} cannot be written ({error.strerror}); set TWOFOLD_DATA_DIR"
        ) from None
    try:
        # Beside the lock and not in it: whoever tries to take the lock truncates that file.
        _pid_file(folder, role).write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        _pid_file(folder, role).unlink(missing_ok=True)
        lock.release()


def _pid_file(folder: Path, role: str) -> Path:
    return folder / f"{role}.pid"


def _owner(folder: Path, role: str) -> str:
    try:
        return _pid_file(folder, role).read_text(encoding="ascii").strip() or "unknown"
    except OSError:
        return "unknown"
