"""A Twofold system of real processes, on ports and in a folder of its own."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.conditions import until
from tests.e2e.ports import lasting_port
from tests.e2e.programs import Program

ROLES = ("nats", "command-server", "projector", "query-server")
"""The children of `twofold up`, in the order in which they start."""
SERVING = "SERVING"
NOT_SERVING = "NOT_SERVING"
UNREACHABLE = "UNREACHABLE"
_MARK = "TESTS_E2E_SYSTEM"


class System:
    """Where a system's processes listen, what they are told, and those that a test started."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """``settings`` are as in TWOFOLD_<SETTING>, in small letters."""
        self.folder = folder
        self.data_dir = folder / "data"
        self.command_address = f"127.0.0.1:{lasting_port()}"
        self.query_address = f"127.0.0.1:{lasting_port()}"
        self.projector_address = f"127.0.0.1:{lasting_port()}"
        self.nats_port = lasting_port()
        self._mark = str(uuid.uuid4())
        self._settings = {
            "data_dir": str(self.data_dir),
            "command_address": self.command_address,
            "query_address": self.query_address,
            "projector_address": self.projector_address,
            "nats_port": str(self.nats_port),
        } | settings
        self.variables: dict[str, str] = {}
        """Further environment variables of its processes."""
        self.programs: list[Program] = []
        """In the order in which they were started."""

    @property
    def nats_url(self) -> str:
        """The URL of the embedded NATS."""
        return f"nats://127.0.0.1:{self.nats_port}"

    @property
    def event_database(self) -> Path:
        """The file of the event log."""
        return self.data_dir / "events.db"

    @property
    def read_database(self) -> Path:
        """The file of the read models."""
        return self.data_dir / "read.db"

    def start(self, role: str, **settings: str) -> Program:
        """Start `twofold <role>`, with other settings than the system's where given, and do not wait."""
        program = Program(
            [sys.executable, "-m", "twofold_server", role],
            environment=self.environment(**settings),
            folder=self.folder,
            name=f"{len(self.programs)}-{role}",
        )
        self.programs.append(program)
        return program

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment of its processes."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("TWOFOLD_")}
        return outside | self.variables | {_MARK: self._mark} | _as_variables(self._settings | settings)

    async def up(self, **settings: str) -> Program:
        """Run `twofold up` and wait until it is ready."""
        program = self.start("up", **settings)
        await program.said("ready")
        return program

    async def role(self, role: str, **settings: str) -> Program:
        """Run one role and wait until it serves."""
        program = self.start(role, **settings)
        address = self.address_of(role)
        await until(
            lambda: _serves_or_ended(address, program), lambda: f"{role} serves: {program.told}", seconds=60
        )
        assert program.exit_code is None, program.told
        return program

    def address_of(self, role: str) -> str:
        """Where a role listens."""
        return {
            "command-server": self.command_address,
            "query-server": self.query_address,
            "projector": self.projector_address,
        }[role]

    async def health(self, role: str, service: str = "") -> str:
        """The name of a service's health status on a role; UNREACHABLE where nobody answers."""
        return await health_of(self.address_of(role), service)

    async def end(self) -> None:
        """Stop every program, frozen ones too; fails where one of their processes is left."""
        async with AsyncExitStack() as stack:  # one that does not end keeps none from being told to
            for program in self.programs:
                stack.push_async_callback(_stopped, program)
        try:
            await until(lambda: not self.processes(), "no process is left", seconds=10)
        except AssertionError:
            left = self.processes()
            told = [f"{process.pid}: {' '.join(words_of(process))}" for process in left]
            for process in left:
                process.kill()
            raise AssertionError(f"processes were left behind: {told}") from None

    def processes(self) -> list[psutil.Process]:
        """Every process of this system that runs, whoever its parent is."""
        return [
            process for process in psutil.process_iter() if _environment(process).get(_MARK) == self._mark
        ]


async def _stopped(program: Program) -> None:
    if program.exit_code is None:
        program.send(signal.SIGCONT)
        try:
            await program.stop()
        finally:
            await program.kill()


def _environment(process: psutil.Process) -> Mapping[str, str]:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return {}
        found: Mapping[str, str] = process.environ()
    except (psutil.Error, OSError):
        return {}
    return found


def words_of(process: psutil.Process) -> list[str]:
    """The command line of a process; empty once it has ended."""
    try:
        found: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return found


def role_process(up: Program, role: str) -> psutil.Process | None:
    """The process that runs a role under `twofold up`, or None while there is none."""
    for process in up.children():
        command = words_of(process)
        if command and (command[-1] == role or (role == "nats" and "nats-server" in Path(command[0]).name)):
            return process
    return None


def kill_role(up: Program, role: str) -> int:
    """End a role with SIGKILL; the id that its process had."""
    process = role_process(up, role)
    assert process is not None, up.told
    process.kill()
    return int(process.pid)


async def health_of(address: str, service: str = "") -> str:
    """The name of a service's health status at an address; UNREACHABLE where nobody answers."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=2)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return "SERVICE_UNKNOWN"
            return UNREACHABLE
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def _serves_or_ended(address: str, program: Program) -> bool:
    return program.exit_code is not None or await health_of(address) == SERVING


def _as_variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"TWOFOLD_{name.upper()}": value for name, value in settings.items()}


@asynccontextmanager
async def a_system(folder: Path, **settings: str) -> AsyncIterator[System]:
    """A system of which nothing runs yet; all of it is ended at the end."""
    found = System(folder, **settings)
    try:
        yield found
    finally:
        await found.end()
