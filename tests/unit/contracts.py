"""Contracts with a mistake in them: the orders' own, spoilt in a pool of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, MethodDescriptorProto

from shop.orders.v1 import command_service_pb2, events_pb2, query_service_pb2, values_pb2, views_pb2
from twofold_server.messages import contract
from twofold_server.messages.contract import ContextContract, read_contract

PACKAGE = "shop.orders.v1"
_MODULES: list[Any] = [values_pb2, views_pb2, events_pb2, command_service_pb2, query_service_pb2]


class Spoilt:
    """The files of the orders' contract, to be changed."""

    def __init__(self) -> None:
        self.files = [_proto(module.DESCRIPTOR) for module in _MODULES]

    def message(self, name: str) -> DescriptorProto:
        """A message."""
        return next(m for file in self.files for m in file.message_type if m.name == name)

    def method(self, name: str) -> MethodDescriptorProto:
        """An RPC."""
        return next(m for file in self.files for s in file.service for m in s.method if m.name == name)

    def field(self, message: str, name: str) -> Any:
        """A field of a message."""
        return next(f for f in self.message(message).field if f.name == name)

    def without_field(self, message: str, name: str) -> None:
        """Take a field away."""
        self.message(message).field.remove(self.field(message, name))


def read_spoilt(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Spoilt], object]) -> ContextContract:
    """Read the orders' contract as it would be with this change."""
    spoilt = Spoilt()
    spoil(spoilt)
    pool = descriptor_pool.DescriptorPool()
    ours = {file.name for file in spoilt.files}
    for module in _MODULES:
        for dependency in module.DESCRIPTOR.dependencies:
            _add(pool, dependency, but=ours)
    for file in spoilt.files:
        pool.AddSerializedFile(file.SerializeToString())
    files = [pool.FindFileByName(file.name) for file in spoilt.files]
    monkeypatch.setattr(contract, "_files", lambda package: files)
    return read_contract(PACKAGE)


def _add(pool: Any, file: FileDescriptor, *, but: set[str]) -> None:
    if file.name not in but:
        for dependency in file.dependencies:
            _add(pool, dependency, but=but)
        pool.AddSerializedFile(file.serialized_pb)


def _proto(file: FileDescriptor) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return proto
