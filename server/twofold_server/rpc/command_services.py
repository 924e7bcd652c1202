"""The command services of all contexts, built from their descriptors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf.message import Message
from uuid_utils import uuid7

from twofold.v1.options_pb2 import EXISTENCE_MUST_NOT_EXIST
from twofold_server.commands.bus import CommandBus
from twofold_server.commands.call import CommandCall
from twofold_server.errors import InvalidRequest
from twofold_server.messages.contract import CommandContract
from twofold_server.modelling import EventMetadata
from twofold_server.rpc import call_metadata as metadata_keys
from twofold_server.rpc.admission import Admission
from twofold_server.rpc.call_metadata import read_metadata
from twofold_server.rpc.guard import UnaryHandler, guarded_unary
from twofold_server.rpc.requests import RequestReader


def command_handler(
    contract: CommandContract, bus: CommandBus, requests: RequestReader, admission: Admission
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The handler of one command RPC; it takes and gives bytes, since the bytes are also what is stored."""

    async def handle(content: bytes, context: Any) -> bytes:
        with admission.admitted():
            command = requests.read(contract.request, content)
            call = command_call(contract, command, read_metadata(context), context.time_remaining())
            result = await bus.dispatch(call)
        context.set_trailing_metadata(((metadata_keys.TOKEN, result.receipt.consistency_token),))
        return result.response

    requests.warm_up(contract.request)
    guarded: UnaryHandler = guarded_unary(handle, method=contract.method, domain=contract.package)
    return grpc.unary_unary_rpc_method_handler(guarded)


def command_call(
    contract: CommandContract, command: Any, metadata: dict[str, str], time_remaining: float | None = None
) -> CommandCall:
    """The call for a valid command; fills in an aggregate id that is left to the server."""
    request_id = command.request_id = command.request_id.lower()
    request_hash = _hash(command) if request_id else b""
    command_id = request_id or str(uuid7())
    given_id = getattr(command, contract.aggregate_field)
    if not given_id:
        _assign_id(contract, command)
    return CommandCall(
        contract=contract,
        command=command,
        aggregate_id=getattr(command, contract.aggregate_field),
        id_assigned=not given_id,
        command_id=command_id,
        request_hash=request_hash,
        metadata=EventMetadata(
            metadata.get(metadata_keys.CORRELATION_ID) or command_id,
            metadata.get(metadata_keys.CAUSATION_ID) or command_id,
            metadata.get(metadata_keys.ACTOR, ""),
            metadata.get(metadata_keys.TRACEPARENT, ""),
        ),
        time_remaining=time_remaining,
    )


def _hash(command: Message) -> bytes:
    hashed = hashlib.blake2b(command.SerializeToString(deterministic=True), digest_size=16)
    hashed.update(command.DESCRIPTOR.full_name.encode())
    return hashed.digest()


def _assign_id(contract: CommandContract, command: Any) -> None:
    if contract.existence != EXISTENCE_MUST_NOT_EXIST:
        name = contract.aggregate_field
        raise InvalidRequest(f"{name} is missing", violations=[(name, "value is required")])
    setattr(command, contract.aggregate_field, str(uuid7()))


def generic_handlers(
    contracts: Iterable[Any], handler_of: Callable[[Any], grpc.RpcMethodHandler[bytes, bytes]]
) -> dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]]:
    """The method handlers of all contracts, by service name and method name."""
    services: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]] = {}
    for contract in contracts:
        services.setdefault(contract.service, {})[contract.method] = handler_of(contract)
    return services
