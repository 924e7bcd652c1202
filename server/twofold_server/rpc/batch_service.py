"""BatchService: many commands in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from twofold.v1 import batch_service_pb2 as pb
from twofold_server.commands.bus import CommandBus
from twofold_server.errors import InvalidRequest, TwofoldError
from twofold_server.messages.contract import CommandContract
from twofold_server.rpc.admission import Admission
from twofold_server.rpc.call_metadata import TOKEN, read_metadata
from twofold_server.rpc.command_services import command_call
from twofold_server.rpc.guard import guarded_unary, unexpected_status
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.status import ENGINE_DOMAIN, status_of

SERVICE = pb.DESCRIPTOR.services_by_name["BatchService"].full_name
METHOD = "BatchExecute"


class BatchService:
    """Sends each command of a batch through the bus, all at once, so that they share commits."""

    def __init__(
        self,
        *,
        contracts: Iterable[CommandContract],
        bus: CommandBus,
        requests: RequestReader,
        admission: Admission,
    ) -> None:
        self._contracts: Mapping[str, CommandContract] = {
            contract.request.DESCRIPTOR.full_name: contract for contract in contracts
        }
        self._bus = bus
        self._requests = requests
        self._admission = admission

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        """The method handlers, by method name."""
        guarded = guarded_unary(self.execute, method=METHOD, domain=ENGINE_DOMAIN)
        return {METHOD: grpc.unary_unary_rpc_method_handler(guarded)}

    async def execute(self, content: bytes, context: Any) -> bytes:
        """Execute the commands of a batch."""
        with self._admission.admitted():
            batch = self._requests.read(pb.BatchExecuteRequest, content)
        metadata, time_left = read_metadata(context), context.time_remaining()
        with self._admission.admitted(len(batch.commands)):
            # Tasks begin in order, and streams are handed out in the order of asking: so the commands on one
            # aggregate are decided in order, although none waits for the commit of the one before.
            outcomes = await asyncio.gather(*(self._outcome(c, metadata, time_left) for c in batch.commands))
        newest = max((outcome.receipt for outcome in outcomes), key=lambda receipt: receipt.position)
        if newest.consistency_token:
            context.set_trailing_metadata(((TOKEN, newest.consistency_token),))
        return pb.BatchExecuteResponse(outcomes=outcomes).SerializeToString()

    async def _outcome(
        self, packed: AnyMessage, metadata: dict[str, str], time_left: float | None
    ) -> pb.BatchOutcome:
        domain = ENGINE_DOMAIN
        try:
            contract = self._contract(packed)
            domain = contract.package
            command = self._requests.read(contract.request, packed.value)
            result = await self._bus.dispatch(command_call(contract, command, metadata, time_left))
        except TwofoldError as error:
            return pb.BatchOutcome(error=status_of(error, domain))
        except Exception as error:
            return pb.BatchOutcome(error=unexpected_status(error, METHOD, domain))
        return pb.BatchOutcome(receipt=result.receipt)

    def _contract(self, packed: AnyMessage) -> CommandContract:
        name = packed.type_url.rpartition("/")[2]
        contract = self._contracts.get(name)
        if contract is None:
            why = f"{name or 'an empty type_url'} is not a command of this server"
            raise InvalidRequest(why, violations=[("type_url", why)], reason="UNKNOWN_COMMAND")
        return contract
