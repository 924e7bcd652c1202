"""What the projector tells those who wait: how far each projection is, on core NATS."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import msgspec
import nats.errors
from nats.aio.client import Client

from twofold_server.projections.checkpoints import Checkpoint
from twofold_server.projections.rows import Touched

SUBJECT = "twofold.progress.{projection}"
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Written(NamedTuple):
    """What one committed batch wrote."""

    after: int
    """The position before the batch: who last heard of another one has missed something."""
    upto: int
    """The position after it."""
    touched: Touched
    """Which rows."""


class ProgressNotices:
    """Tells of each committed batch; a notice may be lost, so whoever waits also looks for itself."""

    def __init__(self, client: Client | None) -> None:
        """Without a client nothing is told."""
        self._client = client

    async def tell(self, checkpoint: Checkpoint, written: Written | None = None) -> None:
        """Publish how far a projection is, and what its last batch wrote; never blocks, never fails.

        Without ``written``, or with that of an earlier batch, it is only told again where the projection is.
        """
        if self._client is None or not self._client.is_connected:
            return
        with contextlib.suppress(nats.errors.Error):
            await self._client.publish(
                SUBJECT.format(projection=checkpoint.projection), progress_notice(checkpoint, written)
            )


def progress_notice(checkpoint: Checkpoint, written: Written | None) -> bytes:
    """The notice, as JSON: the checkpoint, ``after`` and ``touched`` (see Written)."""
    here = checkpoint.position
    if written is None or written.upto != here:
        written = Written(here, here, {})
    return _encode(
        {
            "log_id": checkpoint.log_id,
            "version": checkpoint.version,
            "epoch": checkpoint.epoch,
            "created_at": checkpoint.created_at,
            "position": checkpoint.position,
            "recorded_at": checkpoint.recorded_at,
            "head": checkpoint.head,
            "after": written.after,
            "touched": written.touched,
        }
    )
