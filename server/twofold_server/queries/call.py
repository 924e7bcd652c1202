"""A query on its way through the bus."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from twofold_server.messages.contract import QueryContract


class QueryCall(Struct, frozen=True, kw_only=True):
    """A query with all that its caller said."""

    contract: QueryContract
    """The RPC."""
    request: Any
    """The request message, validated."""
    correlation_id: str = ""
    """The conversation."""
    actor: str = ""
    """Who asks."""
    token: str = ""
    """The consistency token of the call's metadata; the one in the request counts as well."""
    time_remaining: float | None = None
    """Seconds until the caller's deadline; None where there is none."""
