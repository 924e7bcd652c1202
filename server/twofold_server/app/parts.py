"""What all roles are put together with."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import structlog

from twofold_server.lifecycle import settle
from twofold_server.messages.contract import ContextContract
from twofold_server.publishing.config import RelayConfig
from twofold_server.rpc.health import Health
from twofold_server.rpc.server import ServerConfig
from twofold_server.settings import Settings

HEALTH_SECONDS = 0.1
"""How often a role looks whether it is healthy."""
QUIET_SECONDS = 1.0
"""How long a role may be unhealthy before a line in the log says so."""
LAST_MOMENT = 2.0
"""Seconds that work beside the server gets to finish when the role stops."""


async def until(
    stop: asyncio.Event, role: str, address: str, work: Coroutine[Any, Any, None] | None = None
) -> None:
    """Wait until the process is told to stop; work that ends before takes the process along."""
    log = structlog.get_logger().bind(role=role)
    settle()
    log.info("serving", address=address)
    waiting = {asyncio.create_task(each) for each in (stop.wait(), work) if each is not None}
    done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    for task in left:
        with contextlib.suppress(Exception):
            await _ended(task)
    for task in done:
        task.result()


@asynccontextmanager
async def running(
    work: Coroutine[Any, Any, None], before_end: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[None]:
    """Run work beside the block; at its end give ``before_end`` a moment, then cancel the work."""
    task = asyncio.create_task(work)
    try:
        yield
        if before_end is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_MOMENT):
                    await before_end()
    finally:
        await _ended(task)


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancel work until it ends: on Python 3.11 a wait_for of a library may swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1)
    with contextlib.suppress(asyncio.CancelledError):
        task.result()


@asynccontextmanager
async def reporting(
    health: Health, services: Iterable[str], trouble: Callable[[], str]
) -> AsyncIterator[None]:
    """Keep the health of services in step with the trouble that their parts tell of."""
    async with running(_report(health, list(services), trouble)):
        yield


@asynccontextmanager
async def noticing(health: Health, name: str, trouble: Callable[[], str]) -> AsyncIterator[None]:
    """Keep the health of one name in step with its trouble, which is none of the server's as a whole."""
    async with running(_notice(health, name, trouble)):
        yield


async def _notice(health: Health, name: str, trouble: Callable[[], str]) -> None:
    while True:
        health.report(name, not trouble())
        await asyncio.sleep(HEALTH_SECONDS)


async def _report(health: Health, services: list[str], trouble: Callable[[], str]) -> None:
    log = structlog.get_logger().bind()
    told, since = "", time.monotonic()
    serving: bool | None = None
    while True:
        why = trouble()
        if serving is not (not why):
            serving, since = not why, time.monotonic()
            await health.set(services, serving)
            if serving and told:
                log.info("serving again", after=told)
                told = ""
        # What is over within a moment, such as the first catch-up, needs no line.
        if why and why != told and time.monotonic() - since > QUIET_SECONDS:
            log.warning("not serving", why=why)
            told = why
        await asyncio.sleep(HEALTH_SECONDS)


def proto_packages(contracts: Iterable[ContextContract]) -> list[str]:
    """The proto packages that reflection shows."""
    return ["twofold.v1", *(contract.package for contract in contracts)]


def server_config(settings: Settings, address: str) -> ServerConfig:
    """How a role's server listens."""
    return ServerConfig(
        address=address,
        max_message_bytes=settings.max_message_bytes,
        drain_seconds=settings.drain_seconds,
        reuse_port=settings.reuse_port,
    )


def relay_config(settings: Settings) -> RelayConfig:
    """How the relay works."""
    return RelayConfig(
        servers=settings.nats_servers,
        replicas=settings.nats_replicas,
        max_age_seconds=settings.nats_max_age_days * 86_400,
        from_position=settings.relay_from_position,
    )
