"""An empty unary echo on grpc.aio, served exactly as Twofold serves: what all else is compared with.

``python -m bench.echo_server host:port``
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

from twofold_server.lifecycle import run_role, settle
from twofold_server.rpc.health import Health
from twofold_server.rpc.server import Handlers, ServerConfig, serving
from twofold_server.settings import Settings, load_settings

SERVICE = "bench.v1.EchoService"


async def echo(request: bytes, context: Any) -> bytes:
    """The bytes as they came."""
    return request


async def echo_server(settings: Settings, stop: asyncio.Event) -> None:
    """Echo until told to stop."""
    config = ServerConfig(
        address=settings.command_address,
        max_message_bytes=settings.max_message_bytes,
        drain_seconds=settings.drain_seconds,
    )
    health = Health()
    services: Handlers = {SERVICE: {"Echo": grpc.unary_unary_rpc_method_handler(echo)}}
    async with serving(config, services, health, packages=[]):
        settle()
        await health.set(services, True)
        await stop.wait()


if __name__ == "__main__":
    run_role(load_settings(command_address=sys.argv[1]), echo_server)
