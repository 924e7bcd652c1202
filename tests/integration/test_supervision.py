"""`twofold up`, with small programs in the place of the roles."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.nats_server import free_port
from twofold_server.errors import StartupError
from twofold_server.locking import lock_data_dir
from twofold_server.settings import Settings
from twofold_server.supervision.child import Role
from twofold_server.supervision.ports import claim, reachable
from twofold_server.supervision.readiness import answers_as_nats, serves_grpc
from twofold_server.supervision.supervisor import StartFailed, Supervisor, SupervisorConfig
from twofold_server.supervision.up import roles, with_ports

pytestmark = pytest.mark.timeout(60)

QUICK = SupervisorConfig(stop_seconds=10, first_pause_seconds=0.05)

FAKE_ROLE = """
import os, signal, sys, time
name, folder, behaviour = sys.argv[1:]

def note(what):
    with open(f"{folder}/journal", "a") as journal:
        journal.write(f"{what} {name}\\n")

def stop(*_):
    note("stop")
    if behaviour != "deaf":
        sys.exit(0)

signal.signal(signal.SIGTERM, stop)
note("start")
if behaviour == "fails":
    print("no database here", file=sys.stderr)
    sys.exit(3)
with open(f"{folder}/{name}.pid", "w") as file:
    file.write(str(os.getpid()))
os.rename(f"{folder}/{name}.pid", f"{folder}/{name}.ready")
while True:
    time.sleep(60)
"""


class Stage:
    """A folder in which fake roles leave their traces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.stop, self.hurry = asyncio.Event(), asyncio.Event()

    def role(self, name: str, behaviour: str = "good") -> Role:
        async def ready() -> bool:
            return (self.folder / f"{name}.ready").exists()

        command = [sys.executable, "-c", FAKE_ROLE, name, str(self.folder), behaviour]
        return Role(name=name, command=command, endpoint=f"fake://{name}", ready=ready)

    def pid(self, name: str) -> int:
        return int((self.folder / f"{name}.ready").read_text())

    @property
    def journal(self) -> list[str]:
        return (self.folder / "journal").read_text().splitlines()

    @asynccontextmanager
    async def up(self, *found: Role, config: SupervisorConfig = QUICK) -> AsyncIterator[asyncio.Task[None]]:
        before = set(psutil.Process().children(recursive=True))  # a database that other tests share
        supervisor = Supervisor(found, config, say=self.said.append)
        task = asyncio.create_task(supervisor.run(self.stop, self.hurry))
        try:
            yield task
        finally:
            self.stop.set()
            self.hurry.set()
            await asyncio.gather(task, return_exceptions=True)
            left = set(psutil.Process().children(recursive=True)) - before
            assert [child.name() for child in left] == []


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, which pytest's timeout bounds."""
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        await asyncio.sleep(0.01)


async def test_roles_start_in_order_are_told_and_stop_in_the_opposite_order(stage: Stage) -> None:
    async with stage.up(*(stage.role(name) for name in ("one", "two", "three"))) as task:
        await until(lambda: "ready" in stage.said)
        assert stage.said == [
            "one             fake://one",
            "two             fake://two",
            "three           fake://three",
            "ready",
        ]
        stage.stop.set()
        await task
    assert stage.journal == ["start one", "start two", "start three", "stop three", "stop two", "stop one"]


async def test_a_role_that_dies_while_starting_is_named_and_the_others_are_stopped(stage: Stage) -> None:
    async with stage.up(stage.role("one"), stage.role("two", "fails"), stage.role("three")) as task:
        with pytest.raises(StartFailed, match="two ended with exit code 3 while starting"):
            await task
    assert stage.journal == ["start one", "start two", "stop one"]


async def test_a_role_that_takes_long_is_named_and_waited_for(stage: Stage) -> None:
    well = asyncio.Event()

    async def ready() -> bool:
        return well.is_set()

    role = Role(name="slow", command=["sleep", "60"], endpoint="fake://slow", ready=ready)
    async with stage.up(role, config=SupervisorConfig(patience_seconds=0.1)):
        await until(lambda: stage.said[:1] == ["slow is not ready after 0 s; it is waited for"])
        well.set()
        await until(lambda: stage.said[-2:] == ["slow            fake://slow", "ready"])


async def test_a_role_that_dies_later_is_started_again(stage: Stage) -> None:
    async with stage.up(stage.role("one"), stage.role("two")):
        await until(lambda: "ready" in stage.said)
        for _ in range(2):
            stage.said.clear()
            pid = stage.pid("two")
            (stage.folder / "two.ready").unlink()
            psutil.Process(pid).kill()
            await until(lambda: "two is back" in stage.said)
            assert stage.said[0].startswith("two was ended by SIGKILL; starting it again in 0.")
            assert stage.pid("two") != pid
    assert stage.journal.count("start one") == 1


async def test_a_role_that_does_not_stop_is_killed(stage: Stage) -> None:
    quick = SupervisorConfig(stop_seconds=0.3)
    async with stage.up(stage.role("one"), stage.role("two", "deaf"), config=quick) as task:
        await until(lambda: "ready" in stage.said)
        stage.stop.set()
        await task
    assert stage.said[-1] == "two did not stop within 0.3 s and was killed"
    assert stage.journal[-2:] == ["stop two", "stop one"]


async def test_a_second_signal_ends_everything_at_once(stage: Stage) -> None:
    async with stage.up(stage.role("one", "deaf"), stage.role("two", "deaf")) as task:
        await until(lambda: "ready" in stage.said)
        stage.stop.set()
        await until(lambda: "stop two" in stage.journal)
        stage.hurry.set()
        await task
    assert "stop one" not in stage.journal


async def test_a_stop_in_the_middle_of_the_start_leaves_nothing_behind(stage: Stage) -> None:
    async def never() -> bool:
        return False

    waiting = Role(name="two", command=["sleep", "60"], endpoint="", ready=never)
    async with stage.up(stage.role("one"), waiting) as task:
        await until(lambda: len(stage.said) == 1)
        stage.stop.set()
        await task
    assert stage.journal == ["start one", "stop one"]


async def test_no_role_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import asyncio, sys
        from twofold_server.supervision.child import Child, Role

        async def main():
            child = await Child.start(Role(name="x", command=["sleep", "60"], endpoint="", ready=None))
            print(child._process.pid, flush=True)
            await child.wait()

        asyncio.run(main())
    """)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    await until(lambda: child.name() == "sleep")
    parent.kill()
    await parent.wait()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_data_folder_belongs_to_one_process_of_a_kind(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new")
    with lock_data_dir(settings.data_dir, "projector"):
        with (
            pytest.raises(StartupError, match=rf"in use by another projector \(pid {os.getpid()}\); stop it"),
            lock_data_dir(settings.data_dir, "projector"),
        ):
            pass
        with lock_data_dir(settings.data_dir, "command-server"):
            pass
    with lock_data_dir(settings.data_dir, "projector"):
        pass


def test_a_data_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(data_dir=tmp_path / "file")
    with pytest.raises(StartupError, match=r"cannot be written \(.*\); set TWOFOLD_DATA_DIR$"):
        lock_data_dir(settings.data_dir, "up").__enter__()


def test_a_port_that_is_taken_is_told_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartupError) as told:
            with_ports(Settings(command_address=f"127.0.0.1:{port}", query_address="127.0.0.1:0"))
    assert str(told.value) == (
        f"127.0.0.1:{port} for the command-server is taken by another process; "
        "stop that process or set TWOFOLD_COMMAND_ADDRESS"
    )


def test_an_address_of_another_machine_is_told_with_its_setting() -> None:
    with pytest.raises(StartupError, match=r"192\.0\.2\.1:5 for the x cannot be listened on \(.*set Y$"):
        claim("192.0.2.1:5", setting="Y", role="x")


def test_port_0_is_any_free_port() -> None:
    free = "127.0.0.1:0"
    settings = with_ports(
        Settings(nats_port=0, command_address=free, query_address=free, projector_address=free)
    )
    ports = {role.endpoint.rpartition(":")[2] for role in roles(settings)}
    assert len(ports) == 4
    assert "0" not in ports


@pytest.mark.parametrize(
    ("address", "target"),
    [("0.0.0.0:1", ("127.0.0.1", 1)), ("[::]:2", ("::1", 2)), ("[::1]:3", ("::1", 3)), ("a.b:4", ("a.b", 4))],
)
def test_a_server_on_every_interface_is_reached_on_the_loopback(
    address: str, target: tuple[str, int]
) -> None:
    assert reachable(address) == target


async def test_the_embedded_nats_runs_out_of_the_data_folder(tmp_path: Path, stage: Stage) -> None:
    settings = Settings(data_dir=tmp_path / "data", nats_port=free_port())
    role = roles(settings)[0]
    async with stage.up(role) as task:
        await until(lambda: "ready" in stage.said)
        assert stage.said[0] == f"nats            nats://127.0.0.1:{settings.nats_port}"
        assert (tmp_path / "data" / "nats" / "jetstream").is_dir()
        stage.stop.set()
        await task
    assert not await answers_as_nats(f"127.0.0.1:{settings.nats_port}")


async def test_an_embedded_nats_that_does_not_start_is_told_with_its_log(
    tmp_path: Path, stage: Stage
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = Settings(data_dir=tmp_path / "data", nats_port=other.getsockname()[1])
        async with stage.up(roles(settings)[0]) as task:
            with pytest.raises(
                StartFailed, match=r"(?s)nats ended with exit code 1 .*address already in use"
            ):
                await task


async def test_a_grpc_server_is_ready_when_it_says_serving() -> None:
    server = grpc.aio.server()
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    assert not await serves_grpc(address)
    await server.start()
    await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert not await serves_grpc(address)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    assert await serves_grpc(address)
    await server.stop(0)
    assert not await serves_grpc(address)
