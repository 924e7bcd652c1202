"""What is heard on core NATS: how far projections are, and how long the log is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from twofold_server.broker import Handler
from twofold_server.queries.positions import Positions

PROGRESS = "twofold.progress.*"
HEAD = "twofold.head"


class _Progress(msgspec.Struct):
    log_id: str
    position: int
    head: int = 0


class _Head(msgspec.Struct):
    log_id: str
    position: int


def notice_handlers(
    positions: Positions, changes: Callable[[str, bytes], None] | None = None
) -> Mapping[str, Handler]:
    """Who takes in the notices, by subject; ``changes`` takes a projection's name and its notice."""

    async def on_progress(subject: str, data: bytes) -> None:
        heard = msgspec.json.decode(data, type=_Progress)
        projection = subject.rpartition(".")[2]
        # First what is no longer true: who waits for the position must not be given it any more.
        if changes is not None:
            changes(projection, data)
        positions[projection].heard(heard.log_id, heard.position, heard.head)

    async def on_head(_subject: str, data: bytes) -> None:
        heard = msgspec.json.decode(data, type=_Head)
        positions.heard_head(heard.log_id, heard.position)

    return {PROGRESS: on_progress, HEAD: on_head}
