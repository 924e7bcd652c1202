"""Places in messages: where in an event a field may be, and what stands there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message

_WORDS: dict[int, str] = {
    number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()
}
Path = tuple[str, ...]
"""Field names that lead from an event to a message inside it; empty: the event itself."""
Hits = Callable[[Message, int], bool]
"""Whether something is true of a stored event: its message, and the revision in which it is stored."""


def carries(path: Path, name: str) -> Hits:
    """A field of the messages at a place was written."""
    return lambda event, _revision: any(carried(each, name) for each in messages_at(event, path))


def carries_value(path: Path, name: str, number: int) -> Hits:
    """A field of the messages at a place has this enum value."""
    return lambda event, _revision: any(number in carried(each, name) for each in messages_at(event, path))


def carries_several(path: Path, names: Sequence[str]) -> Hits:
    """A message at a place has more than one of these fields."""
    return lambda event, _revision: any(
        sum(bool(carried(each, name)) for name in names) > 1 for each in messages_at(event, path)
    )


def messages_at(message: Message, path: Path) -> Iterator[Message]:
    """All messages at a place: through lists and maps, at every depth of types that contain themselves."""
    alike = _inside(message, message.DESCRIPTOR) if _contains_itself(message.DESCRIPTOR) else ()
    for each in (message, *alike):
        if not path:
            yield each
            continue
        for child in carried(each, path[0]):
            yield from messages_at(child, path[1:])


def carried(message: Message, name: str) -> Sequence[Any]:
    """The values of a field that a message carries, of a map its values; none where it was not written."""
    field: Any = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if field.is_repeated:
        return list(value.values()) if map_types(field) else value
    is_written = message.HasField(name) if field.has_presence else value != field.default_value
    return (value,) if is_written else ()


@cache
def map_types(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor] | None:
    """The key and the value of a map field; None for any other."""
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return None
    return entry.fields_by_name["key"], entry.fields_by_name["value"]


def inner_of(field: FieldDescriptor) -> FieldDescriptor:
    """What a field holds: of a map, its value."""
    entry = map_types(field)
    return entry[1] if entry else field


def type_of(field: FieldDescriptor) -> str:
    """The type of a field as a .proto file says it."""
    if (entry := map_types(field)) is not None:
        return f"map<{type_of(entry[0])}, {type_of(entry[1])}>"
    named = field.message_type or field.enum_type
    word = named.full_name if named else _WORDS[field.type]
    return f"repeated {word}" if field.is_repeated else word


def _inside(message: Message, wanted: Any) -> Iterator[Message]:
    """The messages of a type anywhere inside of a message."""
    for field, _ in message.ListFields():
        if inner_of(field).message_type is not None:
            for child in carried(message, field.name):
                if child.DESCRIPTOR is wanted:
                    yield child
                yield from _inside(child, wanted)


@cache
def _contains_itself(wanted: Any) -> bool:
    seen: set[str] = set()
    left = [wanted]
    while left:
        for field in left.pop().fields:
            inner = field.message_type
            if inner is wanted:
                return True
            if inner is not None and inner.full_name not in seen:
                seen.add(inner.full_name)
                left.append(inner)
    return False
