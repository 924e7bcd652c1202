"""Lines about calls: written together, each whole and in order, and none is left behind."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from tests.unit.command_side import CommandSide
from tests.unit.order_messages import create, pay
from twofold_server import logs
from twofold_server.commands.bus import CommandBus
from twofold_server.commands.metrics import CommandMetrics
from twofold_server.commands.middleware import observing
from twofold_server.logs import CallLog
from twofold_server.rpc.command_services import command_call


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logs, "_call_render", None)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


async def written(capfd: pytest.CaptureFixture[str], lines: int) -> list[str]:
    """The lines on standard error, as soon as there are so many; each is whole."""
    text = ""
    while text.count("\n") < lines:
        await asyncio.sleep(0.001)
        text += capfd.readouterr().err
    assert text.endswith("\n")
    return text.splitlines()


async def test_lines_are_whole_and_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    log = CallLog()
    for n in range(1000):
        log.info("command", {"n": n, "odd": "a\nb", "none": None, "other": ValueError("x")})
        if not n % 100:
            await asyncio.sleep(0)
    told = [json.loads(line) for line in await written(capfd, 1000)]
    assert [line["n"] for line in told] == list(range(1000))
    assert {(line["event"], line["level"], line["odd"], line["other"]) for line in told} == {
        ("command", "info", "a\nb", "x")
    }


async def test_a_line_for_people_stays_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("console", "info")
    CallLog().info("command", {"method": "CreateOrder", "odd": "a\nb", "no": ""})
    [line] = await written(capfd, 1)
    assert line.endswith(" info  command method=CreateOrder odd='a\\nb' no=''")


async def test_lines_of_one_moment_are_written_by_one_system_call(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure("json", "info")
    sizes: list[int] = []
    write = os.write

    def counting(to: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(to, data)

    monkeypatch.setattr(os, "write", counting)
    log = CallLog()
    for n in range(50):
        log.info("command", {"n": n})
    assert sizes == []
    assert len(await written(capfd, 50)) == 50
    assert len(sizes) == 1


async def test_what_the_system_takes_in_pieces_arrives_whole(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure("json", "info")
    write = os.write
    monkeypatch.setattr(os, "write", lambda to, data: write(to, data[:7]))
    CallLog().info("command", {"n": 1})
    [line] = await written(capfd, 1)
    assert json.loads(line)["n"] == 1


async def test_a_reader_that_is_gone_fails_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(to: int, data: bytes) -> int:
        flushed.set()
        raise BrokenPipeError

    flushed = asyncio.Event()
    logs.configure("json", "info")
    monkeypatch.setattr(os, "write", gone)
    log = CallLog()
    for _ in range(2):
        flushed.clear()
        log.info("command", {})
        await flushed.wait()


async def test_after_a_quiet_time_lines_are_written_again(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    log = CallLog()
    for n in range(3):
        log.info("command", {"n": n})
        [line] = await written(capfd, 1)
        assert json.loads(line)["n"] == n


@pytest.mark.parametrize("level", ["warning", "error"])
async def test_below_the_level_nothing_is_rendered(
    capfd: pytest.CaptureFixture[str], level: logs.LogLevel
) -> None:
    logs.configure("json", level)
    log = CallLog()
    assert not log.enabled
    log.info("command", {"n": 1})
    assert log._lines == []
    assert capfd.readouterr().err == ""


def test_a_process_that_ends_leaves_no_line_behind() -> None:
    program = """
import asyncio
from twofold_server import logs

async def main():
    log = logs.CallLog()
    for n in range(3):
        log.info("command", {"n": n})

logs.configure("json", "info")
asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert [json.loads(line)["n"] for line in ended.stderr.splitlines()] == [0, 1, 2]


async def test_each_command_is_told_in_one_line(
    server: CommandSide, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure("json", "info")
    bus = CommandBus(server.execution.execute, [observing(CommandMetrics(server.writer.statistics))])
    for command in (create(), pay("01932f0a-1111-7000-8000-000000000002")):
        contract = server.contract.commands[command.DESCRIPTOR.full_name]
        call = command_call(contract, command, {"twofold-correlation-id": "import-7"})
        await asyncio.gather(bus.dispatch(call), return_exceptions=True)
    stored, refused = (json.loads(line) for line in await written(capfd, 2))
    assert (stored["method"], stored["outcome"], stored["version"], stored["position"]) == (
        "CreateOrder",
        "ok",
        1,
        1,
    )
    assert (refused["method"], refused["outcome"]) == ("PayOrder", "ORDER_NOT_FOUND")
    assert {line["correlation_id"] for line in (stored, refused)} == {"import-7"}
    assert all(line["ms"] >= 0 and line["request_id"] for line in (stored, refused))
