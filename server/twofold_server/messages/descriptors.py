"""The descriptors of events and of what they use, in a form in which two versions can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from twofold.v1 import options_pb2
from twofold_server.messages.contract import ContextContract, EventContract, event_contract

_Type = Any
"""A descriptor of a message or an enum."""


@dataclass(frozen=True)
class EventDescriptors:
    """The event types of one proto package, in one version of its contract."""

    package: str
    content: bytes
    """A FileDescriptorSet of the events and all types that they use, dependencies first; without comments,
    services, reserved names, and options but ``twofold.v1.event``."""
    context: str
    """The package of the context that reads them: their own, or one whose upcasters lead away from them."""

    @cached_property
    def hash(self) -> str:
        """The same for two versions only if their events are."""
        return hashlib.sha256(self.content).hexdigest()

    def events(self) -> Mapping[str, EventContract]:
        """The event types by full name; their classes belong to this version alone."""
        pool = DescriptorPool()
        files = FileDescriptorSet.FromString(self.content).file
        for file in files:
            pool.Add(file)
        names = (f"{f.package}.{m.name}" for f in files if f.package == self.package for m in f.message_type)
        found = (event_contract(GetMessageClass(pool.FindMessageTypeByName(name))) for name in names)
        return {event.type_name: event for event in found if event is not None}


def describe(contexts: Iterable[ContextContract]) -> Mapping[str, EventDescriptors]:
    """By package, all events that can be read: today's, and the former ones that upcasters lead away from."""
    readers: dict[str, str] = {}
    found: dict[str, dict[str, type[Message]]] = {}
    for context in contexts:
        readers[context.package] = context.package
        found.setdefault(context.package, {})
        former = [upcaster.event for upcaster in context.upcasters]
        for message in (*(event.message for event in context.events.values()), *former):
            package = message.DESCRIPTOR.file.package
            readers.setdefault(package, context.package)
            found.setdefault(package, {})[message.DESCRIPTOR.full_name] = message
    return {
        package: describe_events(package, found[package].values(), context=readers[package])
        for package in sorted(found)
    }


def describe_events(
    package: str, events: Iterable[type[Message]], *, context: str | None = None
) -> EventDescriptors:
    """The descriptors of the events of one package; ``context`` reads them, by default their own."""
    kept = _with_all_used(event.DESCRIPTOR for event in events)
    files = FileDescriptorSet(file=_in_order({each.file.name: each.file for each in kept.values()}, kept))
    return EventDescriptors(package, files.SerializeToString(deterministic=True), context or package)


def _with_all_used(types: Iterable[_Type]) -> dict[str, _Type]:
    """Types and all that they use, by full name; a nested type stands for the one that it is nested in."""
    found: dict[str, _Type] = {}
    left = list(types)
    while left:
        outermost = left.pop()
        while outermost.containing_type is not None:
            outermost = outermost.containing_type
        if outermost.full_name not in found:
            found[outermost.full_name] = outermost
            left += _used_by(outermost)
    return found


def _used_by(outermost: _Type) -> Iterator[_Type]:
    if hasattr(outermost, "values"):  # an enum
        return
    for field in outermost.fields:
        yield from (each for each in (field.message_type, field.enum_type) if each is not None)
    for nested in outermost.nested_types:
        yield from _used_by(nested)


def _in_order(files: Mapping[str, Any], kept: Mapping[str, _Type]) -> list[FileDescriptorProto]:
    """The files, each after those that it imports."""
    done: dict[str, FileDescriptorProto] = {}

    def visit(name: str) -> None:
        if name not in done:
            slim = _slim_file(files[name], kept)
            for imported in slim.dependency:
                visit(imported)
            done[name] = slim

    for name in sorted(files):
        visit(name)
    return list(done.values())


def _slim_file(file: Any, kept: Mapping[str, _Type]) -> FileDescriptorProto:
    whole = FileDescriptorProto()
    file.CopyToProto(whole)
    prefix = f"{whole.package}." if whole.package else ""
    slim = FileDescriptorProto(name=whole.name, package=whole.package, syntax=whole.syntax)
    if whole.HasField("edition"):
        slim.edition = whole.edition
    _keep_features(whole, slim)
    mine = [each for each in kept.values() if each.file.name == whole.name]
    used = {_file_of(other) for each in mine for other in _used_by(each)} - {whole.name}
    slim.dependency.extend(sorted(used))
    for message in sorted(whole.message_type, key=_name):
        if prefix + message.name in kept:
            slim.message_type.append(_slim_message(message))
    for enum in sorted(whole.enum_type, key=_name):
        if prefix + enum.name in kept:
            slim.enum_type.append(_slim(enum))
    return slim


def _slim_message(message: DescriptorProto) -> DescriptorProto:
    slim = DescriptorProto(name=message.name)
    _keep_features(message, slim)
    if message.options.map_entry:
        slim.options.map_entry = True
    if message.options.HasExtension(options_pb2.event):
        slim.options.Extensions[options_pb2.event].CopyFrom(message.options.Extensions[options_pb2.event])
    slim.field.extend(_slim(field) for field in sorted(message.field, key=lambda field: field.number))
    slim.nested_type.extend(_slim_message(nested) for nested in sorted(message.nested_type, key=_name))
    slim.enum_type.extend(_slim(enum) for enum in sorted(message.enum_type, key=_name))
    slim.oneof_decl.extend(_slim(oneof) for oneof in message.oneof_decl)
    return slim


def _slim(whole: Any) -> Any:
    slim = type(whole)()
    slim.CopyFrom(whole)
    for name in ("options", "json_name", "reserved_range", "reserved_name", "visibility"):
        if name in slim.DESCRIPTOR.fields_by_name:
            slim.ClearField(name)
    for value in getattr(slim, "value", ()):
        value.ClearField("options")
    _keep_features(whole, slim)
    return slim


def _keep_features(whole: Any, slim: Any) -> None:
    """Features of editions decide how bytes are read."""
    if whole.options.HasField("features"):
        slim.options.features.CopyFrom(whole.options.features)


def _file_of(used: _Type) -> str:
    name: str = used.file.name
    return name


def _name(proto: Any) -> str:
    name: str = proto.name
    return name
