"""Contracts written in tests: from the text of a .proto file to descriptors and message classes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import google.api
import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

from twofold_server.messages.contract import ContextContract, event_contract
from twofold_server.modelling import Upcaster

_ROOTS = (
    Path(__file__).parents[1] / "protos",
    Path(grpc_tools.__file__).parent / "_proto",
    Path(google.api.__path__[0]).parent.parent,
)
_IMPORTS = {
    "google.protobuf.Timestamp": "google/protobuf/timestamp.proto",
    "google.type.Money": "google/type/money.proto",
    "(twofold.v1.event)": "twofold/v1/options.proto",
}


def compiled(body: str, *, package: str = "toy.v1") -> FileDescriptorSet:
    """The descriptors of one file and all that it imports; ``body`` is its messages and enums."""
    imports = "".join(f'import "{file}";\n' for used, file in _IMPORTS.items() if used in body)
    text = f'syntax = "proto3";\npackage {package};\n{imports}{body}'
    with tempfile.TemporaryDirectory() as folder:
        source, image = Path(folder, "events.proto"), Path(folder, "image.binpb")
        source.write_text(text)
        paths = [f"--proto_path={root}" for root in (folder, *_ROOTS)]
        arguments = ["protoc", *paths, "--include_imports", f"--descriptor_set_out={image}", source.name]
        assert protoc.main(arguments) == 0, text
        return FileDescriptorSet.FromString(image.read_bytes())


def messages(body: str, *, package: str = "toy.v1") -> dict[str, type[Message]]:
    """The message classes of such a file, by their names in the package."""
    pool = DescriptorPool()
    image = compiled(body, package=package)
    for file in image.file:
        pool.Add(file)
    found = pool.FindFileByName(image.file[-1].name).message_types_by_name
    return {name: GetMessageClass(message) for name, message in found.items()}


def context_of(
    types: Sequence[type[Message]], *upcasters: Upcaster, package: str = "toy.v1"
) -> ContextContract:
    """The contract of a context that has these messages and upcasters, as ``read_contract`` makes it."""
    former = [upcaster.event for upcaster in upcasters if upcaster.into not in (None, upcaster.event)]
    events = [event_contract(each) for each in types if each not in former]
    return ContextContract(
        package=package,
        commands={},
        queries={},
        events={event.type_name: event for event in events if event is not None},
        services=(),
        upcasters=upcasters,
    )
