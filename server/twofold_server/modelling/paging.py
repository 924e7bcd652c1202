"""Keyset pages with opaque tokens (AIP-158)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message

from twofold.v1.tokens_pb2 import PageToken
from twofold_server.errors import InvalidRequest

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
_NOT_PART_OF_THE_QUERY = ("page_size", "page_token", "skip", "read_options")


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows a list request asks for."""

    size: int
    """How many rows, 1 to 1,000."""
    skip: int
    """How many rows to pass over first."""
    after: tuple[str, ...]
    """The sort keys of the last row before the page; empty for the first page."""
    query_hash: int
    """What the request asks, without its place in the list."""

    def next_token(self, keys: Sequence[str]) -> str:
        """The token for the page after the row with these sort keys."""
        token = PageToken(query_hash=self.query_hash, keys=keys).SerializeToString()
        return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def page_of(request: Any) -> Page:
    """Read ``page_size``, ``page_token`` and ``skip`` of a list request; raises InvalidRequest."""
    query_hash = _query_hash(request)
    return Page(
        size=min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE),
        skip=getattr(request, "skip", 0),
        after=_keys(request.page_token, query_hash) if request.page_token else (),
        query_hash=query_hash,
    )


def _query_hash(request: Message) -> int:
    query = type(request)()
    query.CopyFrom(request)
    for name in _NOT_PART_OF_THE_QUERY:
        if name in query.DESCRIPTOR.fields_by_name:
            query.ClearField(name)
    content = query.DESCRIPTOR.full_name.encode() + b"\0" + query.SerializeToString(deterministic=True)
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def _keys(page_token: str, query_hash: int) -> tuple[str, ...]:
    try:
        raw = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
        token = PageToken.FromString(raw)
    except (binascii.Error, DecodeError, ValueError):
        raise _refused("is not a page token; use next_page_token as it was sent") from None
    if token.query_hash != query_hash or not token.keys:
        raise _refused("belongs to another query; start without a token when you change the query")
    return tuple(token.keys)


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"page_token {why}", violations=[("page_token", why)], reason="INVALID_PAGE_TOKEN")
