"""The read store as a query server sees it: read-only, perhaps not there yet, perhaps replaced."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Connection, make_url

from twofold_server.database import Database, open_database
from twofold_server.errors import StartupError, Unavailable

T = TypeVar("T")
LOOK_SECONDS = 0.5
"""How often the file is looked at: whether it is there, whether it is still the same."""
_PAUSE_SECONDS = 0.05


class _Opened:
    """A read store that is open, and closed when nobody reads from it any more."""

    def __init__(self, database: Database, stack: AsyncExitStack, file: int | None) -> None:
        self.database = database
        self.file = file
        self._stack = stack
        self._readers = 0
        self._unused = asyncio.Event()
        self._unused.set()

    async def read(self, work: Callable[[Connection], T]) -> T:
        self._readers += 1
        self._unused.clear()
        try:
            return await self.database.read(work)
        finally:
            self._readers -= 1
            if not self._readers:
                self._unused.set()

    async def close(self) -> None:
        await self._unused.wait()
        await self._stack.aclose()


class ReadStore:
    """Opens the read store as soon as a projector has made it, and again when it was replaced."""

    def __init__(self, *, url: str, is_prepared: Callable[[Connection], bool], readers: int = 2) -> None:
        """``is_prepared`` tells whether the tables are there; ``readers`` is the number of connections."""
        self._url = url
        self._is_prepared = is_prepared
        self._readers = readers
        self._path = _file_of(url)
        self._opened: _Opened | None = None
        self._trouble = "the read store was not looked at yet"
        self._look = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str:
        """Why nothing can be read, in plain words; empty while it can."""
        return "" if self._opened is not None else self._trouble

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run work in a reading transaction: one snapshot; raises Unavailable."""
        opened = self._opened
        if opened is None:
            raise Unavailable(f"{self._trouble}; retry shortly", reason="READ_STORE_UNAVAILABLE")
        try:
            return await opened.read(work)
        except Unavailable:
            opened.file = -1  # whatever it was, a new connection may mend it
            self._look.set()
            raise

    async def __aenter__(self) -> Self:
        await self._open_if_new()
        self._watch = asyncio.create_task(self._keep_open())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._watch is not None
        self._watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watch
        self._retire()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _keep_open(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look.wait()
            try:
                await self._open_if_new()
            except StartupError as error:
                self._trouble = f"the read store cannot be opened: {error}"
            await asyncio.sleep(_PAUSE_SECONDS)
            self._look.clear()

    async def _open_if_new(self) -> None:
        file = _identity(self._path)
        if self._opened is not None and (file is None or file == self._opened.file):
            return
        try:
            opened = await self._open(file)
        except Unavailable as error:
            self._trouble = f"the read store cannot be opened: {error}"
            return
        if opened is not None:
            self._retire()
            self._opened = opened

    async def _open(self, file: int | None) -> _Opened | None:
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(
                open_database(self._url, read_only=True, readers=self._readers)
            )
            if await database.read(self._is_prepared):
                return _Opened(database, stack.pop_all(), file)
            self._trouble = "no projector has made the tables of the read store yet"
            return None

    def _retire(self) -> None:
        """Close what is open as soon as nobody reads from it any more."""
        if self._opened is not None:
            closing = asyncio.create_task(self._opened.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._opened = None


def _file_of(url: str) -> Path | None:
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def _identity(path: Path | None) -> int | None:
    """What a file is, whatever it is called; None where there is none."""
    try:
        return path.stat().st_ino if path is not None else None
    except OSError:
        return None
