"""The NATS client of projector and query server: nobody waits for it, at the end neither."""

from __future__ import annotations

import asyncio

from tests.nats_server import free_port
from twofold_server.broker import nats_client


async def test_a_client_that_never_connected_lets_go_at_any_moment() -> None:
    """On Python 3.11 a cancellation that meets a refused connection gets lost inside nats-py."""
    servers = [f"nats://127.0.0.1:{free_port()}"]
    async with asyncio.timeout(30):
        for turns in range(40):
            async with nats_client(servers, name="test"):
                for _ in range(turns % 10):
                    await asyncio.sleep(0)
