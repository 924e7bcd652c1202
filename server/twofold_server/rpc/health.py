"""Health v1, by full service name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The health of one server; the empty name stands for the whole of it."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self._reports: set[asyncio.Future[None]] = set()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, services: Iterable[str], serving: bool) -> None:
        """Say how some services are, and the server as a whole."""
        for service in ("", *services):
            await self._servicer.set(service, SERVING if serving else NOT_SERVING)

    def report(self, service: str, serving: bool) -> None:
        """Say how one part is, from where nothing can be awaited."""
        task = asyncio.ensure_future(self._servicer.set(service, SERVING if serving else NOT_SERVING))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def stop(self) -> None:
        """NOT_SERVING from now on, whatever is set later."""
        await self._servicer.enter_graceful_shutdown()
