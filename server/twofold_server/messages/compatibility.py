"""What a new version of a contract changes for events that are stored already.

Only what those events could suffer from counts: fields, values and types may be added at will, renamed
where their numbers stay, and removed where no stored event carries them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from twofold_server.messages.contract import EventContract
from twofold_server.messages.places import (
    Hits,
    Path,
    carries,
    carries_several,
    carries_value,
    inner_of,
    map_types,
    type_of,
)


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something that breaks the events that it hits, if there are any."""

    event: str
    """The type under which those events are stored."""
    kind: str
    """REMOVED_EVENT, RENAMED_PACKAGE, LOWERED_REVISION, REMOVED_FIELD, CHANGED_FIELD, MOVED_FIELD,
    REMOVED_VALUE, MOVED_VALUE or JOINED_FIELDS."""
    field: str = ""
    """The path of the field, with dots; empty where the whole event is meant."""
    what: str
    """What was changed, in plain words."""
    hit: str = "carry it"
    """What the stored events do that it hits."""
    hits: Hits
    """Whether it hits a stored event."""


def changes_between(
    before: Mapping[str, EventContract], today: Mapping[str, EventContract]
) -> Iterator[Change]:
    """The changes of one package that may break stored events, in the order of the former contract."""
    for name, event in before.items():
        current = today.get(name)
        if current is None:
            yield removed_event(name)
            continue
        if current.revision < event.revision:
            yield _lowered(event, current.revision)
        old, new = _descriptor(event), _descriptor(current)
        yield from _in_message(name, (), old, new, ())


def removed_event(name: str, *, renamed_to: str = "") -> Change:
    """An event type is gone; ``renamed_to`` is its namesake in a package that is new."""
    gone = f"was renamed to {renamed_to} with its package" if renamed_to else "was removed"
    return Change(
        event=name,
        kind="RENAMED_PACKAGE" if renamed_to else "REMOVED_EVENT",
        what=f"event {name} {gone}, and no upcaster leads away from it",
        hit="have this type",
        hits=lambda _message, _revision: True,
    )


def _lowered(event: EventContract, revision: int) -> Change:
    return Change(
        event=event.type_name,
        kind="LOWERED_REVISION",
        what=f"event {event.type_name} went back from revision {event.revision} to {revision}",
        hit="have a later revision",
        hits=lambda _message, stored: stored > revision,
    )


_Pair = tuple[str, str]


def _in_message(
    event: str, path: Path, before: Descriptor, today: Descriptor, around: tuple[_Pair, ...]
) -> Iterator[Change]:
    pair = (before.full_name, today.full_name)
    if pair in around:  # a type that contains itself: messages_at looks at every depth
        return
    for field in before.fields:
        current = today.fields_by_number.get(field.number)
        namesake = today.fields_by_name.get(field.name)
        if namesake is not None and namesake.number != field.number:
            yield _field_change(event, path, field, f"has number {namesake.number} now", "MOVED_FIELD")
        elif current is None:
            yield _field_change(event, path, field, "was removed", "REMOVED_FIELD")
        elif _shape(field) != _shape(current):
            told = f"changed from {type_of(field)} to {type_of(current)}"
            yield _field_change(event, path, field, told, "CHANGED_FIELD")
        else:
            yield from _in_field(event, path, field, current, (*around, pair))
    yield from _joined(event, path, before, today)


def _in_field(
    event: str, path: Path, field: FieldDescriptor, current: FieldDescriptor, around: tuple[_Pair, ...]
) -> Iterator[Change]:
    old, new = inner_of(field), inner_of(current)
    if old.message_type is not None and new.message_type is not None:
        inside = (*path, field.name)
        yield from _in_message(event, inside, old.message_type, new.message_type, around)
    if old.enum_type is not None and new.enum_type is not None:
        yield from _in_enum(event, path, field, old.enum_type, new.enum_type)


def _in_enum(
    event: str, path: Path, field: FieldDescriptor, before: EnumDescriptor, today: EnumDescriptor
) -> Iterator[Change]:
    for value in before.values:
        namesake = today.values_by_name.get(value.name)
        if namesake is not None and namesake.number != value.number:
            told, kind = f"has number {namesake.number} now", "MOVED_VALUE"
        elif value.number not in today.values_by_number:
            told, kind = "was removed", "REMOVED_VALUE"
        else:
            continue
        where = ".".join((*path, field.name))
        yield Change(
            event=event,
            kind=kind,
            field=where,
            what=f"value {value.number} ({value.name}) of field {field.number} ({where}) of {event} {told}",
            hits=carries_value(path, field.name, value.number),
        )


def _joined(event: str, path: Path, before: Descriptor, today: Descriptor) -> Iterator[Change]:
    """Fields that became alternatives of each other: of two that an event carries, one would be lost."""
    for oneof in today.oneofs:
        members = [old for new in oneof.fields if (old := before.fields_by_number.get(new.number))]
        homes = {old.containing_oneof.name if old.containing_oneof else old.number for old in members}
        if len(homes) > 1:
            names = [old.name for old in members]
            fields = ", ".join(f"{old.number} ({'.'.join((*path, old.name))})" for old in members)
            yield Change(
                event=event,
                kind="JOINED_FIELDS",
                field=".".join((*path, oneof.name)),
                what=f"fields {fields} of {event} are alternatives now (oneof {oneof.name})",
                hit="carry more than one of them",
                hits=carries_several(path, names),
            )


def _field_change(event: str, path: Path, field: FieldDescriptor, told: str, kind: str) -> Change:
    where = ".".join((*path, field.name))
    return Change(
        event=event,
        kind=kind,
        field=where,
        what=f"field {field.number} ({where}) of {event} {told}",
        hits=carries(path, field.name),
    )


def _descriptor(event: EventContract) -> Any:
    return event.message.DESCRIPTOR


def _shape(field: FieldDescriptor) -> object:
    """What must stay for bytes to be read alike; a message or enum type may get another name."""
    entry = map_types(field)
    return (field.type, field.is_repeated, tuple(map(_shape, entry)) if entry else None)
