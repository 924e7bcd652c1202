"""What the descriptors of a context say: its commands, queries and events."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from twofold.v1 import options_pb2
from twofold_server.errors import StartupError
from twofold_server.modelling import Upcaster


@dataclass(frozen=True, slots=True)
class CommandContract:
    """One command RPC."""

    service: str
    """The service's full name, for example ``shop.orders.v1.CommandService``."""
    method: str
    """The RPC's name, for example ``CreateOrder``."""
    package: str
    """The proto package; the domain of its errors."""
    request: type[Message]
    """The command."""
    response: type[Message]
    """Its answer; field ``receipt`` is a ``twofold.v1.Receipt``."""
    aggregate_field: str
    """The name of the request field that holds the aggregate's id."""
    existence: options_pb2.Existence.ValueType
    """Whether the aggregate must exist."""
    rejections: frozenset[str]
    """The closed set of reasons for FAILED_PRECONDITION."""


@dataclass(frozen=True, slots=True)
class QueryContract:
    """One query RPC."""

    service: str
    """The service's full name."""
    method: str
    """The RPC's name."""
    package: str
    """The proto package; the domain of its errors."""
    request: type[Message]
    """The question; field ``read_options`` is a ``twofold.v1.ReadOptions``."""
    response: type[Message]
    """The answer; field ``read_info`` is a ``twofold.v1.ReadInfo``."""
    projection: str
    """The read model that answers; empty where the log does."""
    from_log: bool = False
    """Whether the events of one stream answer."""
    streams: bool = False
    """Whether the answer is a stream: the row, then every change of it."""


@dataclass(frozen=True, slots=True)
class EventContract:
    """One event type."""

    type_name: str
    """The full name of the message."""
    message: type[Message]
    """The event."""
    revision: int
    """The revision in which it is written today, from 1."""


@dataclass(frozen=True, slots=True)
class ContextContract:
    """All that a proto package declares."""

    package: str
    commands: Mapping[str, CommandContract]
    """By full name of the request type."""
    queries: Mapping[str, QueryContract]
    """By full name of the request type."""
    events: Mapping[str, EventContract]
    """By full name of the event type: those that are written today."""
    services: tuple[str, ...]
    """The full names of its services."""
    upcasters: tuple[Upcaster, ...] = ()
    """How the events of former types and revisions are read."""


def read_contract(package: str, upcasters: Sequence[Upcaster] = ()) -> ContextContract:
    """Read the contract of a proto package from its generated modules; raises StartupError.

    ``upcasters`` are those of its context: a type that turns into another one is not written any more.
    """
    files = list(_files(package))
    methods = [m for file in files for s in file.services_by_name.values() for m in s.methods]
    _check_methods(methods)
    commands = {m.input_type.full_name: _command(m) for m in methods if _is(m, options_pb2.command)}
    queries = {m.input_type.full_name: _query(m) for m in methods if _is(m, options_pb2.query)}
    former = {u.event.DESCRIPTOR.full_name for u in upcasters if u.into not in (None, u.event)}
    return ContextContract(
        package=package,
        commands=commands,
        queries=queries,
        events={e.type_name: e for file in files for e in _events(file) if e.type_name not in former},
        services=tuple(s.full_name for file in files for s in file.services_by_name.values()),
        upcasters=tuple(upcasters),
    )


def event_contract(message: type[Message]) -> EventContract | None:
    """What a message says of itself as an event; None where it is none. Raises StartupError."""
    name, options = message.DESCRIPTOR.full_name, message.DESCRIPTOR.GetOptions()
    if not options.HasExtension(options_pb2.event):
        return None
    revision = options.Extensions[options_pb2.event].revision
    if revision < 1:
        raise StartupError(f"event {name} needs a revision from 1 in twofold.v1.event")
    return EventContract(name, message, revision)


def _files(package: str) -> Iterator[FileDescriptor]:
    try:
        folder = importlib.import_module(package)
    except ImportError as error:
        raise StartupError(
            f"no generated code for proto package {package}: {error}; run make generate"
        ) from None
    for module in pkgutil.iter_modules(folder.__path__):
        if module.name.endswith("_pb2"):
            yield importlib.import_module(f"{package}.{module.name}").DESCRIPTOR


def _check_methods(methods: Sequence[MethodDescriptor]) -> None:
    by_request: dict[str, MethodDescriptor] = {}
    for method in methods:
        if _is(method, options_pb2.command) == _is(method, options_pb2.query):
            raise StartupError(
                f"{method.full_name} has neither the option twofold.v1.command nor twofold.v1.query, "
                "or both; give it exactly one"
            )
        other = by_request.setdefault(method.input_type.full_name, method)
        if other is not method:
            raise StartupError(
                f"{other.full_name} and {method.full_name} both take {method.input_type.full_name}; "
                "give each a request type of its own"
            )


def _is(method: MethodDescriptor, option: object) -> bool:
    return method.GetOptions().HasExtension(option)  # type: ignore[arg-type]


def _command(method: MethodDescriptor) -> CommandContract:
    options = method.GetOptions().Extensions[options_pb2.command]
    if method.client_streaming or method.server_streaming:
        raise StartupError(f"{method.full_name} streams; a command takes one request and gives one answer")
    _require_field(method, method.output_type, "receipt", "twofold.v1.Receipt")
    _require_field(method, method.input_type, "options", "twofold.v1.CommandOptions")
    _require_field(method, method.input_type, "request_id", "string")
    ids = [f.name for f in method.input_type.fields if f.GetOptions().Extensions[options_pb2.aggregate_id]]
    if len(ids) != 1:
        raise StartupError(
            f"{method.input_type.full_name} marks {len(ids)} fields with twofold.v1.aggregate_id; mark one"
        )
    _require_field(method, method.input_type, ids[0], "string")
    if options.existence == options_pb2.EXISTENCE_UNSPECIFIED:
        raise StartupError(f"{method.full_name} does not say `existence` in its option twofold.v1.command")
    return CommandContract(
        service=method.containing_service.full_name,
        method=method.name,
        package=method.containing_service.file.package,
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        aggregate_field=ids[0],
        existence=options.existence,
        rejections=frozenset(r.reason for r in options.rejections),
    )


def _query(method: MethodDescriptor) -> QueryContract:
    options = method.GetOptions().Extensions[options_pb2.query]
    _require_field(method, method.output_type, "read_info", "twofold.v1.ReadInfo")
    _require_field(method, method.input_type, "read_options", "twofold.v1.ReadOptions")
    if method.client_streaming:
        raise StartupError(f"{method.full_name} takes a stream; a query takes one request")
    if method.server_streaming:
        _require_field(method, method.input_type, "resume_token", "string")
    if bool(options.projection) == options.from_log:
        raise StartupError(
            f"{method.full_name} does not say `projection` in its option twofold.v1.query, or both that and "
            "`from_log`; give it one"
        )
    if options.from_log and method.server_streaming:
        raise StartupError(f"{method.full_name} streams from the log; EventService.Subscribe does that")
    return QueryContract(
        service=method.containing_service.full_name,
        method=method.name,
        package=method.containing_service.file.package,
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        projection=options.projection,
        from_log=options.from_log,
        streams=method.server_streaming,
    )


def _require_field(method: MethodDescriptor, message: Descriptor, name: str, type_name: str) -> None:
    field = message.fields_by_name.get(name)
    if field is None or field.is_repeated or _type_name(field) != type_name:
        raise StartupError(f"{message.full_name} of {method.full_name} needs a field `{type_name} {name}`")


def _type_name(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return field.message_type.full_name
    return "string" if field.type == FieldDescriptor.TYPE_STRING else ""


def _events(file: FileDescriptor) -> Iterator[EventContract]:
    for message in file.message_types_by_name.values():
        if (event := event_contract(GetMessageClass(message))) is not None:
            yield event
