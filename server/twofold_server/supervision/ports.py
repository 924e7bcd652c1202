"""The ports that the roles will listen on: free ones, found before anything is started."""

from __future__ import annotations

import errno
import socket

from twofold_server.errors import StartupError


def claim(address: str, *, setting: str, role: str) -> str:
    """The address with its port, chosen where it is 0; raises StartupError where it cannot be listened on.

    ``address`` is host:port. The port is free now, and nobody holds it until the role does.
    """
    host, _, port = address.rpartition(":")
    try:
        found = _bind(host.strip("[]"), int(port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken by another process" if taken else f"cannot be listened on ({error.strerror})"
        raise StartupError(f"{address} for the {role} {why}; stop that process or set {setting}") from None
    return f"{host}:{found}"


def _bind(host: str, port: int) -> int:
    family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: a connection that lingers from before does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(target)
        probe.listen()
        bound: int = probe.getsockname()[1]
        return bound


def reachable(address: str) -> tuple[str, int]:
    """Host and port by which this machine reaches a server that listens on an address."""
    host, _, port = address.rpartition(":")
    everywhere = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}
    return everywhere.get(host, host.strip("[]")), int(port)
