"""A projector that has everything to do yet, beside a bare fetch of the same messages from JetStream.

NATS has all events; they are fetched 500 at a time by a client that does nothing with them. Then a projector
starts with an empty read store; the rate is from the first event that it has applied to the last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import nats
import uvloop
from nats.js.api import AckPolicy, ConsumerConfig

from bench.filling import fill
from bench.report import Line, at_least, ratio
from bench.run import Run
from bench.system import System
from bench.watching import wait_until_projected, wait_until_published
from twofold_server.publishing.stream import STREAM
from twofold_server.publishing.subjects import ALL_EVENTS

EVENTS, EVENTS_FULL = 50_000, 500_000
FETCH = 500


def measure(run: Run) -> Sequence[Line]:
    """Both rates, and their ratio."""
    count = EVENTS_FULL if run.full else EVENTS
    fetched: list[float] = []
    projected: list[tuple[float, float]] = []
    with System(run.new_folder()) as system:
        fill(system.settings.event_database_url, count)
        system.start("nats", "command-server")
        wait_until_published(system, count)
        for _ in run.each_round():
            fetched.append(_fetch(system, count))
            projected.append(project(system, count))
    rates, cpu = [rate for rate, _ in projected], [used for _, used in projected]
    return [
        Line(what=f"fetch({FETCH}), bare", rounds=fetched, unit="/s"),
        Line(what="projector", rounds=rates, unit="/s", cpu=cpu, goal=at_least(10_000)),
        ratio("projector ÷ fetch", rates, fetched, at_least(0.4)),
    ]


def _fetch(system: System, count: int) -> float:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_fetch_all(system.settings.nats_servers[0], count))


async def _fetch_all(url: str, count: int) -> float:
    client = await nats.connect(url)
    try:
        config = ConsumerConfig(ack_policy=AckPolicy.NONE)
        pull = await client.jetstream().pull_subscribe(ALL_EVENTS, stream=STREAM, config=config)
        began, left = time.perf_counter(), count
        while left > 0:
            left -= len(await pull.fetch(FETCH, timeout=10))
        return count / (time.perf_counter() - began)
    finally:
        await client.close()


def project(system: System, count: int) -> tuple[float, float]:
    """Events a second, and CPU microseconds an event."""
    _remove_read_store(system.settings.data_dir)
    with system.role("projector") as projector:
        first = wait_until_projected(system, 1)
        began, used = time.perf_counter(), projector.cpu_seconds()
        last = wait_until_projected(system, count)
        seconds, used = time.perf_counter() - began, projector.cpu_seconds() - used
    return (last - first) / seconds, used / (last - first) * 1e6


def _remove_read_store(folder: Path) -> None:
    for file in folder.glob("read.db*"):
        file.unlink()
