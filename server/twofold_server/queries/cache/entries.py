"""An answer that is kept, and the key that it is kept under."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec
from msgspec import Struct

from twofold_server.queries.answer import Answer

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """An answer as it was read."""

    body: bytes
    """The serialized response without its ``read_info``."""
    position: int
    """The position of the snapshot."""
    token: str
    """The consistency token for that position."""
    read_at: float
    """When it was read, in seconds since 1970: entries are shared between machines."""
    behind: float
    """How many seconds the snapshot was behind the log."""


def entry_of(answer: Answer, now: float) -> Entry:
    """An answer that was just read."""
    return Entry(answer.body, answer.position, answer.token, now, answer.behind)


def request_key(request: Any) -> bytes:
    """What a request asks, however fresh the answer must be."""
    if request.HasField("read_options"):
        bare = type(request)()
        bare.CopyFrom(request)
        bare.ClearField("read_options")
        request = bare
    content: bytes = request.SerializeToString()
    return content


def row_key(table: str, key: Hashable | msgspec.Raw) -> bytes:
    """A row, by the name of its table and its primary key, the same for a key and for its JSON."""
    return b"%s %s" % (table.encode(), key if isinstance(key, msgspec.Raw) else _encode(key))
