"""A call to the projector, and what is told when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import grpc
import typer

from twofold.v1.projection_service_pb2_grpc import ProjectionServiceStub
from twofold_server.errors import StartupError
from twofold_server.settings import Settings

if TYPE_CHECKING:
    from twofold.v1.projection_service_pb2_grpc import ProjectionServiceAsyncStub

REFUSED = 1
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended."""

_OPTIONS = [("grpc.max_receive_message_length", -1)]
_AWAY = ("failed to connect", "Socket closed", "recvmsg")


def call(settings: Settings, work: Callable[[ProjectionServiceAsyncStub], Awaitable[None]]) -> int:
    """Run work with a stub; the exit code. Raises StartupError where no projector answers."""
    try:
        return asyncio.run(_call(settings.projector_address, work))
    except KeyboardInterrupt:
        return INTERRUPTED


async def _call(address: str, work: Callable[[ProjectionServiceAsyncStub], Awaitable[None]]) -> int:
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        try:
            await work(ProjectionServiceStub(channel))
        except grpc.aio.AioRpcError as error:
            details = error.details() or error.code().name
            if error.code() is grpc.StatusCode.UNAVAILABLE and any(sign in details for sign in _AWAY):
                raise StartupError(
                    f"no projector answers at {address}; start one, or name it with --projector-address"
                ) from None
            typer.echo(f"twofold: {details}", err=True)
            return REFUSED
    return 0
