"""What keeps a process from starting is told in one line that says what to do."""

from __future__ import annotations

import re
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.programs import Program
from tests.e2e.shop import visiting
from tests.e2e.systems import System, a_system

pytestmark = pytest.mark.timeout(300)

DATABASES = ("events.db", "read.db")
ADDRESSES = {
    "command-server": "command_address",
    "query-server": "query_address",
    "projector": "projector_address",
}

is_log = re.compile(r"\d\d:\d\d:\d\d\.\d{3} (info |WARN |ERROR)").match


async def complaint(program: Program) -> str:
    """The one line that a process says before it ends with an exit code that tells of failure."""
    [line] = await complaints(program)
    return line


async def complaints(program: Program) -> list[str]:
    """The same where `up` adds which role failed. Nothing else is said but lines of the log."""
    code = await program.ended(seconds=60)
    assert code > 0, program.told
    assert "ready" not in program.out
    told = [line for line in program.err if not is_log(line)]
    assert all(line.startswith("twofold: ") for line in told), program.told
    return [line.removeprefix("twofold: ") for line in told]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def used_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an order in it."""
    async with a_system(tmp_path_factory.mktemp("used"), log_level="warning") as system:
        await system.up()
        async with visiting(system) as shop:
            await shop.create()
    return system.data_dir


@pytest.fixture
def used_system(own_system: System, used_data: Path) -> System:
    """A system on a copy of the databases."""
    own_system.data_dir.mkdir()
    for database in DATABASES:
        shutil.copy(used_data / database, own_system.data_dir)
    return own_system


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def execute(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(statement)
        connection.commit()


# --- ports ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ADDRESSES)
async def test_a_role_whose_port_is_taken_says_so(own_system: System, taken_port: int, role: str) -> None:
    address = f"127.0.0.1:{taken_port}"
    line = await complaint(own_system.start(role, **{ADDRESSES[role]: address}))
    assert f"cannot listen on {address}: the port is in use" in line
    assert "stop the other process or choose another address" in line


@pytest.mark.parametrize("role", [*ADDRESSES, "nats"])
async def test_up_names_the_port_that_is_taken_and_starts_nothing(
    own_system: System, taken_port: int, role: str
) -> None:
    setting = ADDRESSES.get(role, "nats_port")
    value = f"127.0.0.1:{taken_port}" if role in ADDRESSES else str(taken_port)
    line = await complaint(own_system.start("up", **{setting: value}))
    assert f"127.0.0.1:{taken_port}" in line
    assert "is taken by another process" in line
    assert f"set TWOFOLD_{setting.upper()}" in line


# --- the data folder -----------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["up", "command-server", "projector"])
async def test_a_data_folder_that_cannot_be_written_is_named(own_system: System, role: str) -> None:
    (own_system.folder / "file").touch()
    folder = own_system.folder / "file" / "data"
    line = await complaint(own_system.start(role, data_dir=str(folder)))
    assert f"the data folder {folder} cannot be written" in line
    assert "set TWOFOLD_DATA_DIR" in line


async def test_a_data_folder_belongs_to_one_system(own_system: System, tmp_path: Path) -> None:
    first = await own_system.up()
    folder = tmp_path / "second"
    folder.mkdir()
    async with a_system(folder, data_dir=str(own_system.data_dir)) as second:
        for role in ("up", "command-server", "projector"):
            line = await complaint(second.start(role))
            assert f"is in use by another {role} (pid " in line
            assert "stop it or set TWOFOLD_DATA_DIR" in line
            if role == "up":
                assert f"(pid {first.pid})" in line
    assert first.exit_code is None
    async with visiting(own_system) as shop:
        await shop.create()


# --- databases -----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["command-server", "up"])
async def test_an_event_database_of_a_newer_version_is_left_alone(used_system: System, role: str) -> None:
    execute(used_system.event_database, "UPDATE log_schema SET version_num = '9999'")
    program = used_system.start(role)
    line = (await complaints(program))[0]
    assert "the event database has schema 9999, unknown to this version; start a newer Twofold" in line


@pytest.mark.parametrize("role", ["projector", "query-server", "up"])
async def test_a_read_database_of_a_newer_version_is_left_alone(used_system: System, role: str) -> None:
    execute(used_system.read_database, "UPDATE read_store SET schema_version = 9999")
    program = used_system.start(role)
    line = (await complaints(program))[0]
    assert "the read database has schema 9999" in line
    assert "start a newer Twofold" in line


async def test_a_read_database_of_another_log_is_left_alone(used_system: System) -> None:
    used_system.event_database.unlink()
    line = (await complaints(used_system.start("up")))[0]
    assert "was filled from event log" in line or "is filled from event log" in line
    assert "use another read database, or remove this one to build it anew" in line


@pytest.mark.parametrize("role", ["command-server", "projector"])
async def test_a_file_that_is_no_database_is_told(own_system: System, role: str) -> None:
    own_system.data_dir.mkdir()
    for database in DATABASES:
        (own_system.data_dir / database).write_bytes(b"this is no database, but long enough for one" * 100)
    assert "database" in await complaint(own_system.start(role))


async def test_a_database_in_a_folder_that_is_missing_is_told(own_system: System) -> None:
    url = f"sqlite+aiosqlite:///{own_system.folder}/missing/events.db"
    assert "database" in await complaint(own_system.start("command-server", event_database_url=url))


async def test_a_postgresql_that_does_not_answer_is_told(own_system: System, taken_port: int) -> None:
    url = "postgresql+asyncpg://nobody@127.0.0.1:1/none"
    line = await complaint(own_system.start("command-server", event_database_url=url))
    assert "the database is not available" in line


# --- settings and contexts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("command_address", "50051", "must be host:port, for example 127.0.0.1:50051"),
        ("event_database_url", "mysql://x", "must begin with sqlite+aiosqlite:/// or postgresql+asyncpg://"),
        ("nats_port", "many", "valid integer"),
        ("log_format", "xml", "'console' or 'json'"),
        ("contexts", " , ", "name at least one Python package"),
    ],
)
async def test_a_setting_that_is_wrong_is_named(
    own_system: System, setting: str, value: str, advice: str
) -> None:
    line = await complaint(own_system.start("command-server", **{setting: value}))
    assert line.startswith(f"the setting TWOFOLD_{setting.upper()} is wrong: ")
    assert advice in line


@pytest.mark.parametrize("role", ["command-server", "query-server", "projector"])
async def test_a_context_that_is_missing_is_named(own_system: System, role: str) -> None:
    line = await complaint(own_system.start(role, contexts="no_such_contexts"))
    assert "cannot import no_such_contexts" in line
    assert "check TWOFOLD_CONTEXTS and PYTHONPATH" in line


@pytest.mark.parametrize("package", ["json", "this", "twofold_server.cli"])
async def test_a_package_without_contexts_is_named(own_system: System, package: str) -> None:
    line = await complaint(own_system.start("command-server", contexts=package))
    assert package in line
    assert "context" in line


async def test_an_unknown_role_and_an_unknown_option_are_told(own_system: System) -> None:
    for role in ("conductor", "--colour"):
        program = own_system.start(role)
        assert await program.ended() == 2
        assert "Traceback" not in program.told
        assert "No such" in program.told
