"""BatchExecute of 200 CreateOrder a call, beside UmaDB's appends of one event a request by 64 clients.

UmaDB (https://umadb.io) is an event store in Rust, with gRPC; its clients are 64 threads of one Python
process. NATS and the command server run for Twofold. Both sync each commit; Twofold also validates, decides
and publishes.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import umadb

from bench.errors import BenchError
from bench.filling import order_items
from bench.orders import ADDRESS
from bench.processes import running
from bench.report import Line, at_least, ratio
from bench.run import Run
from bench.system import System
from bench.turns import in_turns
from shop.orders.v1.command_service_pb2 import CreateOrderRequest
from shop.orders.v1.values_pb2 import Address
from twofold.v1.batch_service_pb2 import BatchExecuteRequest, BatchExecuteResponse
from twofold_client import request_id
from twofold_server.supervision.ports import claim

SIZE, IN_FLIGHT, CLIENTS = 200, 4, 64
METHOD = "/twofold.v1.BatchService/BatchExecute"


def measure(run: Run) -> Sequence[Line]:
    """Both rates, and their ratio."""
    address = claim("127.0.0.1:0", setting="another port", role="umadb")
    command = [_umadb(), "--listen", address, "--db-path", str(run.new_folder())]
    with (
        System(run.new_folder()) as system,
        running("umadb", command, ready=partial(_is_up, address), folder=run.new_folder()),
    ):
        system.start("nats", "command-server")
        samples = in_turns(
            run,
            {
                "BatchExecute, 200 a call": partial(_batches, system.settings.command_address, run.seconds),
                "UmaDB, 64 clients": partial(_umadb_appends, address, run.seconds),
            },
        )
    ours, theirs = samples.values()
    return [
        *(Line(what=f"{what}, commands", rounds=found, unit="/s") for what, found in samples.items()),
        ratio("BatchExecute ÷ UmaDB", ours, theirs, at_least(1.0)),
    ]


def _batches(address: str, seconds: float) -> float:
    return asyncio.run(_send_batches(address, seconds))


async def _send_batches(address: str, seconds: float) -> float:
    done = 0
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(METHOD, response_deserializer=BatchExecuteResponse.FromString)
        began = time.monotonic()

        async def caller() -> None:
            nonlocal done
            while time.monotonic() - began < seconds:
                answer = await call(_batch(), timeout=60)
                done += sum(outcome.HasField("receipt") for outcome in answer.outcomes)

        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        return done / (time.monotonic() - began)


def _batch() -> bytes:
    batch = BatchExecuteRequest()
    command = CreateOrderRequest(
        customer_id="alice", items=order_items(), shipping_address=Address(**ADDRESS)
    )
    for _ in range(SIZE):
        command.request_id = request_id()
        batch.commands.add().Pack(command)
    return batch.SerializeToString()


def _umadb_appends(address: str, seconds: float) -> float:
    counts = [0] * CLIENTS
    end = time.monotonic() + seconds

    def append(n: int) -> None:
        client = umadb.Client(f"http://{address}")
        event = umadb.Event(event_type="OrderCreated", data=b"x" * 200, tags=[f"order-{n}"])
        while time.monotonic() < end:
            client.append([event])
            counts[n] += 1

    threads = [threading.Thread(target=append, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


async def _is_up(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


def _umadb() -> str:
    found = shutil.which("umadb") or shutil.which("umadb", path=Path(sys.executable).parent)
    if found is None:
        raise BenchError("umadb is missing; it comes with the development dependencies")
    return found
