"""What the projector tells those who wait: how far each projection is, on core NATS."""

from __future__ import annotations

import contextlib
import json

import nats.errors
from nats.aio.client import Client

from twofold_server.projections.checkpoints import Checkpoint

SUBJECT = "twofold.progress.{projection}"


class ProgressNotices:
    """Tells of each committed batch; a notice may be lost, so whoever waits also looks for itself."""

    def __init__(self, client: Client | None) -> None:
        """Without a client nothing is told."""
        self._client = client

    async def tell(self, checkpoint: Checkpoint) -> None:
        """Publish ``{"log_id", "position", "recorded_at", "head"}``; never blocks, never fails."""
        if self._client is None or not self._client.is_connected:
            return
        notice = {
            "log_id": checkpoint.log_id,
            "position": checkpoint.position,
            "recorded_at": checkpoint.recorded_at,
            "head": checkpoint.head,
        }
        with contextlib.suppress(nats.errors.Error):
            await self._client.publish(
                SUBJECT.format(projection=checkpoint.projection), json.dumps(notice).encode()
            )
