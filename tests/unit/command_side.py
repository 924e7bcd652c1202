"""A command server without its edge: orders on a store in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from shop_contexts.orders import context
from twofold.v1.command_pb2 import Receipt
from twofold_server.commands.bus import find_deciders
from twofold_server.commands.execution import CommandExecution
from twofold_server.commands.snapshots import Snapshots
from twofold_server.commands.streams import HotStreams
from twofold_server.event_store.group_commit import GroupCommit
from twofold_server.event_store.store import EventStore
from twofold_server.messages.contract import ContextContract, read_contract
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Context
from twofold_server.rpc.command_services import command_call

ORDERS = read_contract("shop.orders.v1")


@dataclass(frozen=True)
class CommandSide:
    """Takes commands as a command server does; several on one store are several servers."""

    store: EventStore
    writer: GroupCommit
    streams: HotStreams
    snapshots: Snapshots
    execution: CommandExecution
    contract: ContextContract

    async def send(self, command: Any, *, metadata: dict[str, str] | None = None, **fields: Any) -> Receipt:
        """Execute a copy of a command with some more fields set, such as ``request_id``."""
        asked = type(command)()
        asked.CopyFrom(command)
        for name, value in fields.items():
            if name in asked.DESCRIPTOR.fields_by_name:
                setattr(asked, name, value)
            else:
                setattr(asked.options, name, value)
        contract = self.contract.commands[asked.DESCRIPTOR.full_name]
        result = await self.execution.execute(command_call(contract, asked, metadata or {}))
        response: Any = contract.response.FromString(result.response)
        assert response.receipt == result.receipt
        return result.receipt

    async def facts(self, order_id: str) -> list[Message]:
        """The events of an order in the log."""
        codec = EventCodec([self.contract])
        return [codec.decode(event) for event in await self.store.read_stream(f"order-{order_id}")]


def command_side(
    store: EventStore,
    *,
    capacity: int = 1000,
    max_batch: int = 100,
    snapshot_every: int = 0,
    contract: ContextContract = ORDERS,
    manifest: Context = context,
) -> CommandSide:
    """A command side of its own on a store."""
    codec = EventCodec([contract])
    writer = GroupCommit(store, max_batch=max_batch, on_commit=lambda events: None)
    streams = HotStreams(store, codec, capacity=capacity)
    snapshots = Snapshots(store, every=snapshot_every)
    execution = CommandExecution(
        store=store,
        writer=writer,
        streams=streams,
        snapshots=snapshots,
        codec=codec,
        deciders=find_deciders([(manifest, contract)]),
    )
    return CommandSide(store, writer, streams, snapshots, execution, contract)
