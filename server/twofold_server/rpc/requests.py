"""From bytes to a valid request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from protovalidate import Validator

from twofold_server.errors import InvalidRequest, TooLarge
from twofold_server.rpc import money_rules

M = TypeVar("M", bound=Message)


class RequestReader:
    """Parses and validates requests; the rules are declared in the protos (protovalidate)."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._validator = Validator()

    def read(self, message_type: type[M], content: bytes) -> M:
        """The message, valid; raises TooLarge or InvalidRequest with every violation."""
        if len(content) > self._max_bytes:
            raise _too_large(len(content), self._max_bytes)
        try:
            message = message_type.FromString(content)
        except DecodeError:
            name = message_type.DESCRIPTOR.full_name
            raise InvalidRequest(f"the request is not a {name}", reason="MALFORMED_MESSAGE") from None
        # A field that this server does not know may change what the caller means: it is not passed over.
        size = message.ByteSize()
        message.DiscardUnknownFields()
        if message.ByteSize() != size:
            raise _unknown_fields_in(message_type.FromString(content))
        # No text in PostgreSQL can hold this character. Hardly any request has such a byte at all.
        if b"\0" in content and (paths := list(_texts_with_nul(message))):
            raise _invalid([(path, "must not contain the character U+0000") for path in paths])
        self.validate(message)
        return message

    def warm_up(self, message_type: type[Message]) -> None:
        """Compile the rules of a message type, which takes milliseconds, before the first call."""
        self._validator.collect_violations(message_type())

    def validate(self, message: Message) -> None:
        """Check the declared rules; raises InvalidRequest with every violation."""
        told = [(_path(v.proto.field), v.proto.message) for v in self._validator.collect_violations(message)]
        told += money_rules.violations(message)
        if told:
            raise _invalid(told)


def _invalid(told: list[tuple[str, str]]) -> InvalidRequest:
    message = "; ".join(f"{field}: {text}" if field else text for field, text in told)
    return InvalidRequest(message, violations=told)


def _unknown_fields_in(message: Message) -> InvalidRequest:
    told = [(path, "is a field that this server does not know") for path in _unknown_fields(message)]
    return InvalidRequest(
        "the request has fields that this server does not know; it may be older than your contract",
        violations=told,
        reason="UNKNOWN_FIELD",
    )


def _too_large(size: int, limit: int) -> TooLarge:
    return TooLarge(
        f"the message has {size:,} bytes, the limit is {limit:,}; send less at a time",
        reason="MESSAGE_TOO_LARGE",
        metadata={"size": str(size), "limit": str(limit)},
    )


def _path(field: Any) -> str:
    """The dotted path of a violation, as BadRequest wants it: ``items[0].quantity``."""
    parts: list[str] = []
    for element in field.elements if field is not None else ():
        subscript = element.subscript
        parts.append(element.field_name + (f"[{subscript.value}]" if subscript is not None else ""))
    return ".".join(parts)


def _unknown_fields(message: Message, prefix: str = "") -> Iterator[str]:
    for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined]
        yield f"{prefix}{unknown.field_number}"
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for n, child in enumerate(value if field.is_repeated else [value]):
                index = f"[{n}]" if field.is_repeated else ""
                yield from _unknown_fields(child, f"{prefix}{field.name}{index}.")


def _texts_with_nul(message: Message, prefix: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        path = prefix + field.name
        for n, each in enumerate(value) if field.is_repeated else ((None, value),):
            place = path if n is None else f"{path}[{n}]"
            if isinstance(each, Message):
                yield from _texts_with_nul(each, f"{place}.")
            elif isinstance(each, str) and "\0" in each:
                yield place
