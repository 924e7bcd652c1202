"""`twofold relay reseed`, as an operator uses it."""

from __future__ import annotations

import asyncio
import sys

from shop.orders.v1.query_service_pb2 import GetOrderRequest
from tests.e2e.conditions import until
from tests.e2e.drill.watchers import STREAM, nats_connection
from tests.e2e.shop import Shop, a_payment, visiting
from tests.e2e.systems import System
from twofold.v1.reading_pb2 import ON_STALE_FAIL, ReadOptions


async def reseed(system: System, *options: str, answer: str = "") -> tuple[int, str]:
    """Run it; its exit code and all that it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "twofold_server", "relay", "reseed", *options),
        env=system.environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(answer.encode())
    assert process.returncode is not None
    return process.returncode, said.decode()


async def stream_is(system: System, wanted: tuple[int, int, int]) -> bool:
    """Whether the stream has these sequences."""
    return await sequences(system) == wanted


async def sequences(system: System) -> tuple[int, int, int]:
    """The first and last sequence of the stream, and how many messages it has."""
    async with nats_connection(system.nats_url) as client:
        state = (await client.jetstream().stream_info(STREAM)).state
    return state.first_seq, state.last_seq, state.messages


async def pay_and_read(shop: Shop, order_id: str) -> None:
    """The read model hears of what happens now."""
    receipt = (await shop.commands.PayOrder(a_payment(order_id))).receipt
    fresh = ReadOptions(consistency_token=receipt.consistency_token, on_stale=ON_STALE_FAIL)
    shown = await shop.queries.GetOrder(GetOrderRequest(order_id=order_id, read_options=fresh))
    assert shown.order.version == receipt.version


async def test_the_stream_is_made_anew_beside_running_servers(own_system: System) -> None:
    await own_system.up()
    async with visiting(own_system) as shop:
        orders = [await shop.create() for _ in range(10)]
        await pay_and_read(shop, orders[0])
        assert await sequences(own_system) == (1, 11, 11)

        code, said = await reseed(own_system, "--from", "6", answer="n\n")
        assert code == 1
        assert "The log ends at position 11. The stream TWOFOLD_EVENTS holds 11 messages, 1 to 11." in said
        assert await sequences(own_system) == (1, 11, 11)

        code, said = await reseed(own_system, "--from", "6", answer="y\n")
        assert code == 0, said
        assert "holds positions 6 to 11." in said
        assert await sequences(own_system) == (6, 11, 6)
        await pay_and_read(shop, orders[1])

        code, said = await reseed(own_system, "--from", "13", "--yes")
        assert code == 0, said
        await pay_and_read(shop, orders[2])
        # The read model may have it from the log before NATS has it.
        await until(lambda: stream_is(own_system, (13, 13, 1)), "NATS has it as well")

        code, said = await reseed(own_system, "--from", "15", "--yes")
        assert code == 2
        assert said == "twofold: the log ends at position 13, so the stream begins at 14 at most\n"
        assert await sequences(own_system) == (13, 13, 1)


async def test_what_keeps_it_from_its_work_is_told_in_one_line(own_system: System) -> None:
    own_system.data_dir.mkdir()
    code, said = await reseed(own_system, "--from", "1", "--yes")
    assert (code, said.count("\n")) == (2, 1)
    assert "twofold: the event log cannot be read" in said

    up = await own_system.up()
    assert await up.stop() == 0
    code, said = await reseed(own_system, "--from", "1", "--yes")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"twofold: NATS cannot be reached at {own_system.nats_url}: ")
