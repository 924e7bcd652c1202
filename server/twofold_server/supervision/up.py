"""`twofold up`: everything on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from functools import partial

from twofold_server.locking import lock_data_dir
from twofold_server.settings import Settings
from twofold_server.supervision.child import Role
from twofold_server.supervision.nats import nats_command, nats_log
from twofold_server.supervision.ports import claim
from twofold_server.supervision.readiness import answers_as_nats, serves_grpc
from twofold_server.supervision.supervisor import StartFailed, Supervisor, SupervisorConfig

_KILLED_AFTER_DRAIN = 5.0
"""Seconds that a role may take beyond its drain time before it is killed."""


def run_up(settings: Settings) -> int:
    """Run everything until a signal comes, and return the exit code; raises StartupError."""
    with lock_data_dir(settings.data_dir, "up"):
        settings = with_ports(settings)
        config = SupervisorConfig(stop_seconds=settings.drain_seconds + _KILLED_AFTER_DRAIN)
        supervisor = Supervisor(roles(settings), config, say=_say)
        try:
            asyncio.run(_until_signal(supervisor))
        except StartFailed as error:
            sys.stderr.write(f"twofold: {error}\n")
            return 1
        return 0


def with_ports(settings: Settings) -> Settings:
    """The settings with a free port for each role; raises StartupError where one is taken."""
    chosen: dict[str, object] = {
        setting: claim(getattr(settings, setting), setting=f"TWOFOLD_{setting.upper()}", role=role)
        for role, setting in _ADDRESSES.items()
    }
    if settings.embedded_nats:
        address = claim(f"127.0.0.1:{settings.nats_port}", setting="TWOFOLD_NATS_PORT", role="embedded NATS")
        chosen["nats_port"] = int(address.rpartition(":")[2])
    return settings.model_copy(update=chosen)


_ADDRESSES = {
    "command-server": "command_address",
    "projector": "projector_address",
    "query-server": "query_address",
}


def roles(settings: Settings) -> list[Role]:
    """The roles in the order in which they start; each but NATS is this program once more."""
    found = [
        Role(
            name=name,
            command=[sys.executable, "-m", "twofold_server", name],
            endpoint=f"grpc://{getattr(settings, address)}",
            ready=partial(serves_grpc, getattr(settings, address)),
            environment=settings.as_environment(),
        )
        for name, address in _ADDRESSES.items()
    ]
    return [_nats(settings), *found] if settings.embedded_nats else found


def _nats(settings: Settings) -> Role:
    return Role(
        name="nats",
        command=nats_command(settings.data_dir, settings.nats_port),
        endpoint=settings.nats_servers[0],
        ready=partial(answers_as_nats, f"127.0.0.1:{settings.nats_port}"),
        log=nats_log(settings.data_dir),
    )


async def _until_signal(supervisor: Supervisor) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    await supervisor.run(stop, hurry)


def _say(line: str) -> None:
    # Whoever read it may be gone (`twofold up | head`); the roles go on.
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
