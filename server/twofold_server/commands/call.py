"""A command on its way through the bus, and what came of it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from twofold.v1.command_pb2 import Receipt
from twofold_server.messages.contract import CommandContract
from twofold_server.modelling import EventMetadata


class CommandCall(Struct, frozen=True):
    """A command with all that its caller said."""

    contract: CommandContract
    """The RPC."""
    command: Any
    """The request message, validated; its aggregate id is filled in."""
    aggregate_id: str
    """The id of the aggregate."""
    id_assigned: bool
    """Whether the server gave the aggregate its id just now."""
    command_id: str
    """The request id, or one that the server gave; a UUID."""
    request_hash: bytes
    """A hash of the request as the caller sent it; empty where the caller gave no request id."""
    metadata: EventMetadata
    """Correlation, causation, actor, trace."""
    time_remaining: float | None = None
    """Seconds until the caller's deadline; None where there is none."""

    @property
    def request_id(self) -> str:
        """The caller's request id, or nothing."""
        return self.command_id if self.request_hash else ""


class CommandResult(Struct, frozen=True):
    """What a command came to."""

    response: bytes
    """The response message, serialized."""
    receipt: Receipt
    """The receipt in it."""
