"""An answer on its way back through the bus: serialized once, with how fresh it is."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from twofold.v1.reading_pb2 import ReadInfo


class Answer(Struct, frozen=True, gc=False):
    """What a query is answered with."""

    body: bytes
    """The serialized response without its ``read_info``."""
    read_info: bytes
    """The serialized field ``read_info``: after the body it makes the response whole."""
    position: int
    """The position of the snapshot that was read."""
    token: str
    """The consistency token for that position."""
    stale: bool = False
    """Whether a token asked for more than that."""
    generation: Generation | None = None
    """Whose rows were read; None where that is not known."""
    behind: float = 0.0
    """How many seconds the snapshot was behind the log."""

    @property
    def content(self) -> bytes:
        """The serialized response."""
        return self.body + self.read_info


class Generation(Struct, frozen=True, gc=False):
    """Whose rows a snapshot has: at equal positions those of two generations may differ."""

    log_id: str
    """The id of the log."""
    version: int
    """The version of the projection that filled the tables."""
    epoch: int
    """Which projector filled them last, or rewrote them."""
    begun_at: int
    """When the build was begun, in microseconds since 1970: one that was removed and made anew is another."""


def serialized(info: ReadInfo, response: type[Any]) -> bytes:
    """A ``read_info`` as a field of its response.

    The parts of a serialized message may be put together: so this serves all answers of a snapshot, and an
    answer that is kept is made whole without being read again.
    """
    content: bytes = response(read_info=info).SerializeToString()
    return content
