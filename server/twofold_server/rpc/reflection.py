"""Reflection v1 and v1alpha that serves the contract with its comments."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1ALPHA = reflection.SERVICE_NAME
V1 = "grpc.reflection.v1.ServerReflection"
_METHOD = "ServerReflectionInfo"


class _CommentedReflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    """The library's servicer, with files as protoc wrote them: Python's descriptor pool drops comments."""

    def __init__(self, service_names: Iterable[str], files: Mapping[str, bytes]) -> None:
        super().__init__(service_names)
        self._files = files

    def _file_by_filename(self, request: Any, filename: str) -> Any:
        return self._with_comments(super()._file_by_filename(request, filename))

    def _file_containing_symbol(self, request: Any, fully_qualified_name: str) -> Any:
        found = super()._file_containing_symbol(request, fully_qualified_name)
        if found.HasField("error_response"):  # the pool finds no methods, but their services
            found = super()._file_containing_symbol(request, fully_qualified_name.rpartition(".")[0])
        return self._with_comments(found)

    def _file_containing_extension(self, request: Any, containing_type: str, extension_number: int) -> Any:
        return self._with_comments(
            super()._file_containing_extension(request, containing_type, extension_number)
        )

    def _with_comments(self, response: Any) -> Any:
        files = response.file_descriptor_response.file_descriptor_proto
        for n, content in enumerate(files):
            files[n] = self._files.get(FileDescriptorProto.FromString(content).name, content)
        return response


def add_reflection(server: grpc.aio.Server, services: Iterable[str], packages: Iterable[str]) -> None:
    """Serve reflection for these services; ``packages`` are the proto packages of the contract."""
    _describe_v1()
    servicer = _CommentedReflection([*services, V1, V1ALPHA], _files_with_comments(packages))
    # The messages of v1 and v1alpha are the same on the wire.
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for service in (V1, V1ALPHA):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {_METHOD: method}),))


def _files_with_comments(packages: Iterable[str]) -> dict[str, bytes]:
    """The files of each ``descriptors.binpb`` beside the generated code, by name."""
    files: dict[str, bytes] = {}
    for path in {_root(package) / "descriptors.binpb" for package in packages}:
        if path.exists():
            for file in FileDescriptorSet.FromString(path.read_bytes()).file:
                files.setdefault(file.name, file.SerializeToString())
    return files


def _root(package: str) -> Path:
    folder = Path(next(iter(importlib.import_module(package).__path__)))
    return folder.parents[package.count(".")]


def _describe_v1() -> None:
    """Put the descriptor of v1, which grpcio-reflection does not ship, into the pool."""
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName("grpc/reflection/v1/reflection.proto")
    except KeyError:
        alpha = FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
        text = text_format.MessageToString(alpha).replace("reflection.v1alpha", "reflection.v1")
        v1 = text_format.Parse(text.replace("reflection/v1alpha", "reflection/v1"), FileDescriptorProto())
        pool.AddSerializedFile(v1.SerializeToString())
