"""What the figures depend on beside Twofold: the machine, its disk, the versions."""

from __future__ import annotations

import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

_PAGE = 4096
_SYNCS = 300


def describe(folder: Path) -> dict[str, str]:
    """Machine, disk and versions, in words."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    packages = ("grpcio", "protobuf", "sqlalchemy", "uvloop")
    return {
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GB",
        "busy": f"{os.getloadavg()[0]:.1f} processes wanted to run before this began (load average)",
        "disk": f"a page is synced in {sync_seconds(folder) * 1e3:.2f} ms (median)",
        "software": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
        ),
    }


def sync_seconds(folder: Path) -> float:
    """The median time for one page to be written over and synced to the disk of a folder."""
    file = os.open(folder / "sync", os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(file, bytes(_PAGE * 256), 0)
        os.fsync(file)
        return statistics.median(_sync(file, n % 256) for n in range(_SYNCS))
    finally:
        os.close(file)


def _sync(file: int, page: int) -> float:
    started = time.perf_counter()
    os.pwrite(file, os.urandom(_PAGE), page * _PAGE)
    os.fdatasync(file)
    return time.perf_counter() - started
