"""A gRPC server with its lifetime: start, health, graceful stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from twofold_server.errors import StartupError
from twofold_server.rpc.health import Health
from twofold_server.rpc.reflection import add_reflection

Handlers = Mapping[str, Mapping[str, "grpc.RpcMethodHandler[bytes, bytes]"]]
"""Method handlers, by service name and method name."""

HEALTH_SERVICE = "grpc.health.v1.Health"
HARD_LIMIT_FACTOR = 4
"""gRPC itself refuses what is this many times over the limit, without details; below that we do."""
LET_WATCHERS_SEE = 0.2
"""Seconds between health going down and the server taking no more calls."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How a server listens."""

    address: str
    """host:port; port 0 is any free one."""
    max_message_bytes: int
    """The largest message that is taken."""
    drain_seconds: float
    """How long calls may go on when the server stops."""
    reuse_port: bool = False
    """Whether several processes may listen on the port."""


@asynccontextmanager
async def serving(
    config: ServerConfig, services: Handlers, health: Health, *, packages: Iterable[str]
) -> AsyncIterator[str]:
    """Serve until the block ends, then stop gracefully: health down, calls finish, close.

    Gives the address with its real port. ``packages`` are the proto packages that reflection shows. Who
    calls says when the services are healthy. Raises StartupError for a port in use.
    """
    server = grpc.aio.server(options=_options(config))
    await health.set(services, False)
    for service, methods in services.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(methods)),))
    health.register(server)
    add_reflection(server, [*services, HEALTH_SERVICE], packages)
    port = _bind(server, config.address)
    await server.start()
    try:
        yield f"{config.address.rpartition(':')[0]}:{port}"
    finally:
        await health.stop()
        await asyncio.sleep(min(LET_WATCHERS_SEE, config.drain_seconds))
        await server.stop(config.drain_seconds)


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(config.reuse_port)),
        ("grpc.max_receive_message_length", config.max_message_bytes * HARD_LIMIT_FACTOR),
        ("grpc.max_send_message_length", -1),
    ]


def _bind(server: grpc.aio.Server, address: str) -> int:
    try:
        return server.add_insecure_port(address)
    except RuntimeError:
        raise StartupError(
            f"cannot listen on {address}: the port is in use or the address is not of this machine; "
            "stop the other process or choose another address"
        ) from None
