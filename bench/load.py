"""Load from ghz, a generator in Go: a caller in Python would be slower than the server that it measures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.processes import Process
from twofold_server.end_with_parent import ending_with_parent

_ROOT = Path(__file__).resolve().parent.parent
CONTRACT = ("--protoset", str(_ROOT / "generated" / "descriptors.binpb"))
ECHO_CONTRACT = ("--proto", str(_ROOT / "bench" / "echo.proto"))


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is called, where, and whose CPU it takes."""

    method: str
    """package.Service/Method."""
    body: str
    """The request as JSON, a ghz template."""
    address: str
    """host:port."""
    server: Process
    """Who serves it."""
    contract: tuple[str, str] = CONTRACT
    """Where ghz finds the method."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run of calls."""

    rate: float
    """Answers a second."""
    cpu: float
    """CPU of the server, in microseconds a request."""
    median: float
    """Latency in milliseconds."""
    p99: float
    """Latency in milliseconds, of the slowest in a hundred."""


def sample(call: Call, *, in_flight: int, seconds: float = 0, count: int = 0, rate: float = 0) -> Sample:
    """Call for so many seconds, or so many times, at the given rate or as fast as it goes."""
    before = call.server.cpu_seconds()
    told = _result(background(call, in_flight=in_flight, seconds=seconds, count=count, rate=rate))
    used = call.server.cpu_seconds() - before
    latency = {entry["percentage"]: entry["latency"] / 1e6 for entry in told["latencyDistribution"]}
    return Sample(rate=told["rps"], cpu=used / told["count"] * 1e6, median=latency[50], p99=latency[99])


def warm(*calls: Call) -> None:
    """Call each for a second, so that caches are filled and code has been run."""
    for call in calls:
        sample(call, in_flight=128, seconds=1)


def background(
    call: Call, *, in_flight: int, seconds: float = 0, count: int = 0, rate: float = 0
) -> subprocess.Popen[bytes]:
    """Begin to call; to be waited for with ``finish``."""
    how = ["-c", str(in_flight), "--connections", "1", "--timeout", "60s"]
    how += ["-n", str(count)] if count else ["-z", f"{seconds}s", "--duration-stop", "wait"]
    how += ["--rps", f"{rate:.0f}"] if rate else []
    what = [*call.contract, "--call", call.method, "-d", call.body]
    command = [_ghz(), "--insecure", *what, *how, "-O", "json", call.address]
    return subprocess.Popen(ending_with_parent(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(running: subprocess.Popen[bytes]) -> float:
    """Wait for calls in the background; their rate."""
    return float(_result(running)["rps"])


def _result(running: subprocess.Popen[bytes]) -> Any:
    try:
        output, errors = running.communicate()
    finally:
        running.kill()
    try:
        told = json.loads(output)
    except ValueError:
        raise BenchError(f"ghz says: {(errors or output).decode()[:2000]}") from None
    if set(told["statusCodeDistribution"]) != {"OK"}:
        raise BenchError(f"calls fail: {told['statusCodeDistribution']} {told['errorDistribution']}")
    return told


def _ghz() -> str:
    found = shutil.which("ghz") or shutil.which("ghz", path=Path(sys.executable).parent)
    if found is None:
        raise BenchError("ghz is missing; `make ghz` builds it into .venv/bin")
    return found


def medians(samples: Sequence[Sample]) -> list[float]:
    """The median latencies of some runs, in milliseconds."""
    return [each.median for each in samples]


def rates(samples: Sequence[Sample]) -> list[float]:
    """The rates of some runs."""
    return [each.rate for each in samples]


def cpu(samples: Sequence[Sample]) -> list[float]:
    """The CPU a request of some runs, in microseconds."""
    return [each.cpu for each in samples]
