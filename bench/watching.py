"""Waiting for a system, from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import nats
from nats.js.errors import NotFoundError
from sqlalchemy import Connection

from bench.errors import BenchError
from bench.system import System
from twofold_server.contexts import discover
from twofold_server.database import open_database
from twofold_server.errors import TwofoldError
from twofold_server.projections.checkpoints import read_checkpoint
from twofold_server.publishing.stream import STREAM

PROJECTIONS = [each.name for context, _ in discover(("shop_contexts",)) for each in context.projections]
_SECONDS = 900.0
_POLL_SECONDS = 0.02


def wait_until_projected(system: System, position: int) -> int:
    """Wait until each read model has applied the log up to a position; how far the last one is then."""
    url = system.settings.read_database_url
    return asyncio.run(_reach(lambda: _projected(url), position, "projector"))


def wait_until_published(system: System, position: int) -> int:
    """Wait until JetStream has the log up to a position; how far it is then."""
    url = system.settings.nats_servers[0]
    return asyncio.run(_reach(lambda: _published(url), position, "relay"))


async def _reach(look: Callable[[], Awaitable[int]], position: int, who: str) -> int:
    reached = 0
    try:
        async with asyncio.timeout(_SECONDS):
            while True:
                reached = await look()
                if reached >= position:
                    return reached
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise BenchError(f"the {who} is at {reached} and does not reach {position}") from None


async def _projected(url: str) -> int:
    try:
        async with open_database(url, read_only=True, readers=1) as database:
            return await database.read(_least_position)
    except TwofoldError:
        return 0  # no file yet, or no tables


def _least_position(connection: Connection) -> int:
    checkpoints = [read_checkpoint(connection, name) for name in PROJECTIONS]
    return min(each.position if each is not None else 0 for each in checkpoints)


async def _published(url: str) -> int:
    client = await nats.connect(url)
    try:
        position: int = (await client.jetstream().stream_info(STREAM)).state.last_seq
        return position
    except NotFoundError:
        return 0  # no stream yet
    finally:
        await client.close()
