"""Log lines: one a call, for people or for machines, whatever is in them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from twofold_server import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_has_one_object_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    structlog.get_logger().info("command ok", version=1, odd="a\nb", other=ValueError("x"))
    line = json.loads(capfd.readouterr().err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "info", "event": "command ok", "version": 1, "odd": "a\nb", "other": "x"}


def test_console_has_time_level_event_and_fields(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("console", "info")
    structlog.get_logger().warning("command\nCreateOrder ok", id="a-1", odd="a\nb", no="", who="Zoë")
    line = capfd.readouterr().err
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} WARN  command CreateOrder ok id=a-1 odd='a\\nb' no='' who='Zoë'\n", line
    )


def test_what_is_below_the_level_is_not_written(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "warning")
    structlog.get_logger().info("no")
    logging.getLogger("nats").info("no")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_comes_with_its_traceback(
    capfd: pytest.CaptureFixture[str], log_format: logs.LogFormat
) -> None:
    logs.configure(log_format, "info")
    try:
        raise ValueError("odd")
    except ValueError:
        structlog.get_logger().exception("failed")
    written = capfd.readouterr().err
    assert "Traceback" in written
    assert "ValueError: odd" in written


def test_the_logs_of_libraries_are_routed_in(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    logging.getLogger("nats").warning("slow %s", "consumer")
    logging.getLogger("alembic").info("not asked for")
    line = json.loads(capfd.readouterr().err)
    assert (line["event"], line["library"], line["level"]) == ("slow consumer", "nats", "warning")
