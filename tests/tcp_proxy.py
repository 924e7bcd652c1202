"""A TCP proxy before a server: a network that tests can cut, freeze, and let speak in one direction only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 65536
Way = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Direction:
    """One way through the proxy: requests or answers."""

    flows: asyncio.Event = field(default_factory=asyncio.Event)
    passed: int = 0
    """Bytes that went this way, over all connections."""

    def __post_init__(self) -> None:
        self.flows.set()


class TcpProxy:
    """Listens on a port of 127.0.0.1 and passes each connection on."""

    def __init__(self, connect: Callable[[], Awaitable[Way]]) -> None:
        """``connect`` opens a connection to the server."""
        self.requests = Direction()
        """From those who connect to the server."""
        self.answers = Direction()
        """From the server to those who connected."""
        self.refusing = False
        """Whether new connections are closed at once."""
        self._connect = connect
        self._listener: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many connections pass through it."""
        return len(self._open) // 2

    def pause(self) -> None:
        """Let nothing through in either direction; connections stay open and say nothing."""
        self.requests.flows.clear()
        self.answers.flows.clear()

    def resume(self) -> None:
        """Let everything through again, also what was held back."""
        self.requests.flows.set()
        self.answers.flows.set()

    def cut(self) -> int:
        """Break every connection, as a router that restarts; how many it were. What was held back is lost."""
        count = self.connections
        for writer in self._open:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        return count

    async def open(self) -> None:
        """Begin to listen."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        """Break every connection and end."""
        assert self._listener is not None
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve((reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, caller: Way) -> None:
        if self.refusing:
            caller[1].transport.abort()
            return
        try:
            server = await self._connect()
        except BaseException as error:  # also where it is cut just now
            caller[1].transport.abort()
            if isinstance(error, OSError):
                return
            raise
        ends = {caller[1], server[1]}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(caller[0], server[1], self.requests))
                group.create_task(_pass_on(server[0], caller[1], self.answers))
        except* OSError:
            pass
        finally:
            for end in ends:
                end.transport.abort()
            self._open -= ends


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, way: Direction) -> None:
    while chunk := await source.read(_CHUNK):
        await way.flows.wait()
        way.passed += len(chunk)
        target.write(chunk)
        await target.drain()
    raise ConnectionResetError("closed by one side")


@contextlib.asynccontextmanager
async def proxy_to_socket(path: Path) -> AsyncIterator[TcpProxy]:
    """A proxy before a server on a Unix socket."""
    proxy = TcpProxy(lambda: asyncio.open_unix_connection(path))
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
