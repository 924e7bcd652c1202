"""Any bytes and any messages at every RPC: an answer or a refusal, never INTERNAL, no crash, no growth."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shop.orders.v1.command_service_pb2_grpc import CommandServiceStub
from tests.e2e.cluster.processes import a_cluster
from tests.e2e.shop import an_order
from tests.e2e.systems import SERVING, a_system, health_of, role_process
from tests.random_messages import RandomMessages, spoilt
from twofold.v1 import options_pb2
from twofold_client import error_of

FULL = os.environ.get("TWOFOLD_DRILL") == "full"
MESSAGES, BYTES = (800, 2000) if FULL else (12, 40)
"""For each RPC."""
MOST_GROWTH = (96 if FULL else 48) * 1024 * 1024
"""Bytes of memory; caches fill, and are bounded."""
PROJECTIONS = ("orders", "order_sales", "order_search")
NEVER = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
_DESCRIPTORS = Path(__file__).parents[2] / "generated" / "descriptors.binpb"
_PATIENCE = 20.0
_STREAM_SECONDS = 0.03
_KEYS = [
    "twofold-correlation-id",
    "twofold-causation-id",
    "twofold-actor",
    "twofold-consistency-token",
    "traceparent",
]
_printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300)
_metadata = st.lists(st.tuples(st.sampled_from(_KEYS), _printable), max_size=3)

Call = Callable[[bytes, Any], "grpc.RpcError | None"]
"""Calls an RPC with bytes and metadata; gives the error."""

pytestmark = [pytest.mark.drill, pytest.mark.timeout(7200 if FULL else 300)]


@dataclass(frozen=True)
class Target:
    """A system under fuzz."""

    addresses: dict[str, str]
    """Of each role."""
    processes: Callable[[], dict[str, psutil.Process]]
    """The servers' processes, by role."""


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Target]:
    """A system under `twofold up`, on SQLite."""
    roles = ("command-server", "query-server", "projector")
    async with a_system(folder, log_level="error") as system:
        up = await system.up()

        def processes() -> dict[str, psutil.Process]:
            return {role: process for role in roles if (process := role_process(up, role)) is not None}

        yield Target({role: system.address_of(role) for role in roles}, processes)


@asynccontextmanager
async def clustered(folder: Path) -> AsyncIterator[Target]:
    """The same on PostgreSQL."""
    async with a_cluster(folder, servers=1) as cluster:
        await cluster.start()
        [command] = cluster.servers
        projector, query = cluster.system.programs[-2:]
        programs = {"command-server": command.program, "query-server": query, "projector": projector}
        yield Target(
            {role: cluster.system.address_of(role) for role in programs}
            | {"command-server": command.address},
            lambda: {role: psutil.Process(program.pid) for role, program in programs.items()},
        )


@pytest.mark.parametrize("place", [embedded, pytest.param(clustered, marks=pytest.mark.postgres)])
async def test_nothing_that_can_be_sent_breaks_a_server(
    tmp_path: Path, place: Callable[[Path], AbstractAsyncContextManager[Target]]
) -> None:
    async with place(tmp_path) as target:
        rpcs = await every_rpc(target)
        ids = await some_orders(target)
        with unbroken(target):
            counts = await asyncio.to_thread(send_messages, target, rpcs, ids)
            await asyncio.to_thread(send_bytes, target, rpcs, ids)
    assert counts["valid and answered"] > counts["valid and refused"] / 10, counts


# --- what is sent --------------------------------------------------------------------------------


def send_messages(target: Target, rpcs: dict[str, list[MethodDescriptor]], ids: list[str]) -> Counter[str]:
    """Messages that keep the rules must get past them; all others are refused in order."""
    counts: Counter[str] = Counter()
    messages = random_messages(rpcs, ids)

    def send_valid(call: Call, message: Any) -> None:
        error = call(message.SerializeToString(), [])
        assert error is None or error_of(error).reason != "INVALID_REQUEST", (message, error)
        counts["valid and answered" if error is None else "valid and refused"] += 1

    def send_any(call: Call, message: Any, metadata: Any) -> None:
        call(message.SerializeToString(), metadata)

    for method, call in calls(target, rpcs):
        valid, anything = (messages.of(method.input_type, honest=honest) for honest in (True, False))
        many_times(MESSAGES, send_valid, st.just(call), valid)
        many_times(MESSAGES, send_any, st.just(call), anything, _metadata)
    return counts


def send_bytes(target: Target, rpcs: dict[str, list[MethodDescriptor]], ids: list[str]) -> None:
    """Bytes that are nearly a message, and bytes that are none."""
    messages = random_messages(rpcs, ids)

    def send(call: Call, content: bytes) -> None:
        call(content, [])

    for method, call in calls(target, rpcs):
        whole = messages.of(method.input_type, honest=True).map(lambda message: message.SerializeToString())
        many_times(BYTES, send, st.just(call), spoilt(whole))


def many_times(count: int, work: Callable[..., None], *arguments: st.SearchStrategy[Any]) -> None:
    """Work with so many arguments of these kinds."""
    how = settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    how(given(*arguments)(work))()


def random_messages(rpcs: dict[str, list[MethodDescriptor]], ids: list[str]) -> RandomMessages:
    """Messages that ask for these orders and read models; batches hold any command."""
    methods = [method for found in rpcs.values() for method in found]
    commands = [m.input_type for m in methods if m.GetOptions().HasExtension(options_pb2.command)]
    return RandomMessages(ids=ids, projections=PROJECTIONS, packed=commands)


def calls(target: Target, rpcs: dict[str, list[MethodDescriptor]]) -> Iterator[tuple[MethodDescriptor, Call]]:
    """Each RPC, and a way to call it with bytes."""
    with ExitStack() as stack:
        for role, methods in rpcs.items():
            channel = stack.enter_context(grpc.insecure_channel(target.addresses[role]))
            for method in methods:
                yield method, caller(channel, method)


def caller(channel: grpc.Channel, method: MethodDescriptor) -> Callable[[bytes, Any], grpc.RpcError | None]:
    """A way to call one RPC."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    unary: Any = channel.unary_unary(path)
    stream: Any = channel.unary_stream(path)

    def call(content: bytes, metadata: Any) -> grpc.RpcError | None:
        try:
            if not method.server_streaming:
                unary(content, timeout=_PATIENCE, metadata=metadata)
            else:
                for _ in stream(content, timeout=_STREAM_SECONDS, metadata=metadata):
                    pass
        except grpc.RpcError as failure:
            error: Any = failure
        else:
            return None
        if method.server_streaming and error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return None  # it would have gone on
        assert error.code() not in NEVER, f"{path}: {error_of(error)}"
        return error  # type: ignore[no-any-return]

    return call


# --- to whom -------------------------------------------------------------------------------------


async def every_rpc(target: Target) -> dict[str, list[MethodDescriptor]]:
    """The RPCs of the contract that the servers have, by role."""
    services = [service for file in _files() for service in file.DESCRIPTOR.services_by_name.values()]
    found: dict[str, list[MethodDescriptor]] = {role: [] for role in target.addresses}
    for role, address in target.addresses.items():
        for service in services:
            if await health_of(address, service.full_name) == SERVING:
                found[role] += service.methods
    assert all(found.values())
    return found


def _files() -> list[Any]:
    """The modules of the contract that hold services."""
    content = FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes())
    names = [
        file.name for file in content.file if file.service and file.name.startswith(("shop/", "twofold/"))
    ]
    return [import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2") for name in names]


async def some_orders(target: Target) -> list[str]:
    """The ids of a few orders."""
    async with grpc.aio.insecure_channel(target.addresses["command-server"]) as channel:
        create = CommandServiceStub(channel).CreateOrder
        return [(await create(an_order())).receipt.aggregate_id for _ in range(3)]


@contextmanager
def unbroken(target: Target) -> Iterator[None]:
    """The same processes are there after the block, and have hardly more memory."""
    before = {role: (process.pid, process.memory_info().rss) for role, process in target.processes().items()}
    yield
    after = {role: (process.pid, process.memory_info().rss) for role, process in target.processes().items()}
    assert len(before) == len(after) == len(target.addresses)
    for role, (pid, memory) in before.items():
        assert after[role][0] == pid, f"the {role} was started again"
        assert after[role][1] - memory < MOST_GROWTH, f"the {role} grew from {memory:,} to {after[role][1]:,}"
