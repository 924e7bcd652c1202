"""Request ids: what makes a command that is sent again take effect once."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from twofold.v1.batch_service_pb2 import BatchExecuteRequest


def request_id() -> str:
    """A new request id: a UUIDv7 (RFC 9562, section 5.7), so that ids made later sort later."""
    milliseconds, random = time.time_ns() // 1_000_000, secrets.randbits(74)
    high, low = random >> 62, random & (1 << 62) - 1
    return str(uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


def with_request_id(command: Any) -> Any:
    """The command with a request id, each command of a batch likewise: without one a retry could do it twice.

    What has one already, or cannot have one, comes back as it is.
    """
    if isinstance(command, BatchExecuteRequest):
        return BatchExecuteRequest(commands=[_packed_with_request_id(each) for each in command.commands])
    if "request_id" not in command.DESCRIPTOR.fields_by_name or command.request_id:
        return command
    copy = type(command)()
    copy.CopyFrom(command)
    copy.request_id = request_id()
    return copy


def _packed_with_request_id(packed: Any) -> Any:
    try:
        kind = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(packed.TypeName()))
    except KeyError:
        return packed  # nothing is known of it here; the server will say what it thinks of it
    content = kind()
    if packed.Unpack(content) and (filled := with_request_id(content)) is not content:
        again = type(packed)()
        again.Pack(filled)
        return again
    return packed
