"""Events of former types and revisions, turned into today's one step after the other."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from twofold_server.messages.contract import EventContract
from twofold_server.modelling import Upcaster

Key = tuple[str, int]
"""A type's full name and a revision."""


class UpcastFailed(Exception):
    """An upcaster raised, or returned another type than it says: a mistake in its context."""


@dataclass(frozen=True, slots=True)
class Step:
    """One upcaster: from one revision to the next."""

    upcaster: Upcaster
    stored: EventContract
    """What it reads: its type, as the proto has it today."""
    leads_to: Key

    def apply(self, old: Message) -> Message:
        """The message one step on."""
        rest = _unknown_fields(old)
        try:
            new = self.upcaster.upcast(old)
        except Exception as error:
            raise UpcastFailed(f"{self} failed: {type(error).__name__}: {error}") from error
        wanted = self.upcaster.into or self.upcaster.event
        if type(new) is not wanted:
            raise UpcastFailed(f"{self} returned {type(new).__name__}, not {wanted.DESCRIPTOR.full_name}")
        if rest and new is not old and not _unknown_fields(new):
            _carry(rest, new)
        return new

    def __str__(self) -> str:
        return f"the upcaster of {self.stored.type_name} revision {self.upcaster.revision}"


@dataclass(frozen=True, slots=True)
class Chain:
    """All steps from one stored revision to today's."""

    steps: tuple[Step, ...]
    newest_name: str
    """The full name of today's type."""

    def read(self, data: bytes) -> Message:
        """Today's message of stored bytes; raises UpcastFailed, DecodeError."""
        message: Message = self.steps[0].stored.message.FromString(data)
        for step in self.steps:
            message = step.apply(message)
        return message


def _unknown_fields(message: Message) -> bytes:
    """What a message holds beyond the fields of its type, serialized."""
    if not len(UnknownFieldSet(message)):
        return b""
    rest = type(message)()
    rest.CopyFrom(message)
    for field, _ in message.ListFields():
        rest.ClearField(field.name)
    return rest.SerializeToString()


def _carry(rest: bytes, new: Message) -> None:
    """Give a new message the unknown fields of the old one, unless their numbers mean something in it."""
    try:
        unknown_here = _unknown_fields(type(new).FromString(rest))
    except DecodeError:
        return
    new.MergeFromString(unknown_here)
