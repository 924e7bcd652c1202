"""Health v1, by full service name."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The health of one server; the empty name stands for the whole of it."""

    def __init__(self, services: Iterable[str]) -> None:
        self._servicer = health.aio.HealthServicer()
        self._services = ("", *services)

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, service: str, serving: bool) -> None:
        """Say how one service is."""
        await self._servicer.set(service, SERVING if serving else NOT_SERVING)

    async def set_all(self, serving: bool) -> None:
        """Say how all services of this server are."""
        for service in self._services:
            await self.set(service, serving)

    async def stop(self) -> None:
        """NOT_SERVING from now on, whatever is set later."""
        await self._servicer.enter_graceful_shutdown()
