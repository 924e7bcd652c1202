"""ProjectionService: read models from an operator's side."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.message import Message

from twofold.v1 import projection_service_pb2 as pb
from twofold_server.rpc.guard import guarded_stream, guarded_unary
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.status import ENGINE_DOMAIN

_DESCRIPTOR = pb.DESCRIPTOR.services_by_name["ProjectionService"]
SERVICE = _DESCRIPTOR.full_name
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class ProjectionService:
    """Hands each call to the part that answers it.

    A part is any object with methods that are named as RPCs are, in small letters: ``list_projections`` takes
    a valid ListProjectionsRequest and gives a ListProjectionsResponse; the method of a streaming RPC is an
    async generator of responses. Both raise TwofoldError. An RPC that no part has is UNIMPLEMENTED.
    """

    def __init__(self, *, requests: RequestReader, parts: Sequence[object]) -> None:
        self._requests = requests
        self._parts = parts

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        """The method handlers, by method name."""
        return {
            method.name: self._handler(method, answer)
            for method in _DESCRIPTOR.methods
            if (answer := self._answer_of(method.name)) is not None
        }

    def _answer_of(self, method: str) -> Any:
        name = _CAPITAL.sub("_", method).lower()
        return next((getattr(part, name) for part in self._parts if hasattr(part, name)), None)

    def _handler(self, method: Any, answer: Any) -> grpc.RpcMethodHandler[bytes, bytes]:
        request_type = message_factory.GetMessageClass(method.input_type)
        self._requests.warm_up(request_type)

        async def one(content: bytes, context: Any) -> bytes:
            response: Message = await answer(self._requests.read(request_type, content))
            return response.SerializeToString()

        async def many(content: bytes, context: Any) -> AsyncIterator[bytes]:
            async for response in answer(self._requests.read(request_type, content)):
                yield response.SerializeToString()

        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(
                guarded_stream(many, method=method.name, domain=ENGINE_DOMAIN)
            )
        return grpc.unary_unary_rpc_method_handler(
            guarded_unary(one, method=method.name, domain=ENGINE_DOMAIN)
        )
