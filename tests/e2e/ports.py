"""Ports for servers that are killed and started again."""

from __future__ import annotations

import random
import socket

_BELOW_EPHEMERAL = range(10_000, 32_000)
"""An outgoing connection never takes one of these (Linux's own begin at 32,768), so that a server that was
killed finds its port free again."""
_given: set[int] = set()


def lasting_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that this process was not given before."""
    while True:
        port = random.choice(_BELOW_EPHEMERAL)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
