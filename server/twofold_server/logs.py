"""Logging: structlog to standard error, for people or as JSON, with the libraries' own logs routed in.

A server writes one line for each call, so a line is cheap: 5 us as JSON, 7 us for people, 0.4 us below the
level. Bind a logger once (``structlog.get_logger().bind()``): an unbound one is looked up anew at every
line, for 4 us more.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

import msgspec
import structlog

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

FLUSH_SECONDS = 0.02
"""How long a line about a call may wait for others."""

_Fields = MutableMapping[str, Any]
_Render = Callable[[Any, str, _Fields], bytes]
_call_render: _Render | None = None
"""How lines about calls look; None where they are not logged."""


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Set up logging for this process, once at its start; what is below ``level`` costs next to nothing."""
    global _call_render
    number = logging.getLevelNamesMapping()[level.upper()]
    render: _Render = _json if log_format == "json" else _console
    _call_render = render if number <= logging.INFO else None
    structlog.configure(
        processors=[_with_traceback, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=True,
    )
    # A library's INFO is our DEBUG: nobody asked for a line about each migration or connection.
    logging.basicConfig(level=max(number, logging.WARNING) if number > logging.DEBUG else number, force=True)
    logging.getLogger().handlers[:] = [_FromLibraries()]
    logging.captureWarnings(True)


class CallLog:
    """Lines about calls, one each: rendered at once, written together with others of the same moment.

    A server writes thousands of these a second; a system call and structlog's machinery for each would cost
    more than the line is worth. A killed process loses those of the last ``FLUSH_SECONDS``.
    """

    def __init__(self) -> None:
        """To be made after ``configure``, in the process that logs."""
        self.enabled = _call_render is not None
        self._render = _call_render or _json
        self._lines: list[bytes] = []
        self._out = _StandardError()

    def info(self, event: str, fields: _Fields) -> None:
        """Log a call at level info, on the event loop."""
        if not self.enabled:
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)
            atexit.register(self._flush)
        fields["event"] = event
        self._lines.append(self._render(None, "info", fields))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        self._out.info(b"".join(lines))
        atexit.unregister(self._flush)


class _StandardError:
    """Writes each line with one system call, so that lines of several processes do not mix."""

    def _write(self, line: bytes) -> None:
        # Whoever reads the log may be gone or too slow: no call may fail for that.
        with contextlib.suppress(OSError):
            while line:
                line = line[os.write(2, line) :]

    debug = info = warning = error = critical = log = msg = _write


class _FromLibraries(logging.Handler):
    """Hands a library's record to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        log.log(record.levelno, record.getMessage(), library=record.name, exc_info=record.exc_info or None)


def _with_traceback(_: Any, __: str, fields: _Fields) -> _Fields:
    wanted = fields.pop("exc_info", None)
    if wanted:
        error = sys.exc_info()[1] if wanted is True else wanted[1] if isinstance(wanted, tuple) else wanted
        if isinstance(error, BaseException):
            fields["exception"] = "".join(traceback.format_exception(error)).rstrip()
    return fields


_encode = msgspec.json.Encoder(enc_hook=str).encode


def _json(_: Any, level: str, fields: _Fields) -> bytes:
    event = fields.pop("event", "")
    return _encode({"time": _utc(), "level": level, "event": event, **fields}) + b"\n"


def _console(_: Any, level: str, fields: _Fields) -> bytes:
    exception = fields.pop("exception", None)
    parts = [_local(), _COLUMNS.get(level, level), str(fields.pop("event", "")).replace("\n", " ")]
    for name, value in fields.items():
        text = str(value)
        parts.append(f"{name}={text}" if _PLAIN(text) else f"{name}={text!r}")
    line = " ".join(parts)
    return (f"{line}\n{exception}\n" if exception else f"{line}\n").encode("utf-8", "backslashreplace")


_COLUMNS = {"debug": "debug", "info": "info ", "warning": "WARN ", "error": "ERROR", "critical": "ERROR"}


# A value that can stand without quotes and cannot break the line.
_PLAIN = re.compile(r"[!#-~]+").fullmatch


# The last whole second and its text: formatting a time would cost more than the rest of the line.
# Each is one tuple, replaced as a whole, so that threads need no lock.
_utc_second = (-1, "")
_local_second = (-1, "")


def _utc() -> str:
    global _utc_second
    second, millisecond = divmod(time.time_ns() // 1_000_000, 1000)
    known, text = _utc_second
    if second != known:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _utc_second = (second, text)
    return f"{text}.{millisecond:03d}Z"


def _local() -> str:
    global _local_second
    second, millisecond = divmod(time.time_ns() // 1_000_000, 1000)
    known, text = _local_second
    if second != known:
        text = time.strftime("%H:%M:%S", time.localtime(second))
        _local_second = (second, text)
    return f"{text}.{millisecond:03d}"
