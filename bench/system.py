"""Twofold on free ports with a data folder of its own, and the echo beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.processes import Process, running
from twofold_server.settings import Settings, load_settings
from twofold_server.supervision.ports import claim
from twofold_server.supervision.readiness import serves_grpc
from twofold_server.supervision.up import roles, with_ports

_ANY = "127.0.0.1:0"


class System:
    """Roles of one Twofold, started when asked for and stopped in the opposite order at the end."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        """``settings`` are Twofold's, where the defaults will not do."""
        addresses = {"command_address": _ANY, "query_address": _ANY, "projector_address": _ANY}
        self.settings: Settings = with_ports(
            load_settings(**{"data_dir": folder / "data", "nats_port": 0, **addresses, **settings})
        )
        self._folder = folder
        self._roles = {role.name: role for role in roles(self.settings)}
        self._started: dict[str, Process] = {}
        self._stack = ExitStack()

    @contextmanager
    def role(self, name: str) -> Iterator[Process]:
        """Run one role until the block ends."""
        role = self._roles[name]
        with running(
            name, role.command, ready=role.ready, folder=self._folder, environment=role.environment
        ) as process:
            yield process

    def start(self, *names: str) -> tuple[Process, ...]:
        """Run roles until the system's own block ends."""
        for name in names:
            self._started[name] = self._stack.enter_context(self.role(name))
        return tuple(self.process(name) for name in names)

    def process(self, name: str) -> Process:
        """The process of a role that was started."""
        return self._started[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


@contextmanager
def echo(folder: Path) -> Iterator[tuple[Process, str]]:
    """The echo server and its address, until the block ends."""
    address = claim(_ANY, setting="another port", role="echo")
    command = [sys.executable, "-m", "bench.echo_server", address]
    with running("echo", command, ready=partial(serves_grpc, address), folder=folder) as process:
        yield process, address
