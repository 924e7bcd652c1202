"""`twofold projections verify` and `explain` against a running system."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.e2e.conditions import until
from tests.e2e.shop import Shop, a_payment, item, visiting
from tests.e2e.systems import NOT_SERVING, SERVING, System
from tests.e2e.test_projections_command import said
from twofold.v1 import projection_service_pb2 as pb
from twofold.v1.projection_service_pb2_grpc import ProjectionServiceStub

if TYPE_CHECKING:
    from twofold.v1.projection_service_pb2_grpc import ProjectionServiceAsyncStub

pytestmark = pytest.mark.timeout(300)


def edit(system: System, statement: str, *values: object) -> None:
    """Somebody changes the read store by hand, beside the running processes."""
    with closing(sqlite3.connect(system.read_database, timeout=10)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


async def level(system: System, position: int) -> None:
    """Every read model has applied the log up to a position."""
    async with grpc.aio.insecure_channel(system.projector_address) as channel:
        projector: ProjectionServiceAsyncStub = ProjectionServiceStub(channel)

        async def is_level() -> bool:
            answer = await projector.ListProjections(pb.ListProjectionsRequest())
            return {each.position for each in answer.projections} == {position}

        await until(is_level, "the read models are level")


async def verified(system: System, *arguments: str) -> tuple[int | None, list[Any]]:
    """The exit code of `verify --json`, and what it printed."""
    code, out, err = await said(system, "verify", *arguments, "--json")
    assert not err
    return code, [json.loads(line) for line in out.splitlines()]


async def some_orders(shop: Shop) -> list[str]:
    orders = [await shop.create(item(price=None), customer_id="ada") for _ in range(5)]
    for order_id in orders[:2]:
        await shop.commands.PayOrder(a_payment(order_id))
    return orders


async def test_a_hand_edited_read_store_is_found_and_mended_beside_running_processes(
    own_system: System,
) -> None:
    await own_system.up()
    async with visiting(own_system) as shop:
        orders = await some_orders(shop)
        await level(own_system, 7)
        code, out, err = await said(own_system, "verify")
        assert code == 0, out + err
        assert "orders: 6 rows and 2 rules checked at position 7; no difference from the log" in out
        edit(own_system, "UPDATE orders SET customer_id = 'eve' WHERE order_id = ?", orders[0])
        edit(own_system, "DELETE FROM orders WHERE order_id = ?", orders[1])
        edit(own_system, "UPDATE order_sales_daily SET paid = 7")
        code, out, _ = await said(own_system, "verify")
        assert code == 1
        for line in ("customer_id", "eve", "no row", "a row", "rule: every order has its row", "paid"):
            assert line in out
        code, told = await verified(own_system, "--repair")
        assert code == 0
        rows = [each["difference"] for each in told if each.get("difference", {}).get("table")]
        assert len(rows) == 3
        assert all(each["repaired"] for each in rows)
        code, out, _ = await said(own_system, "verify")
        assert code == 0, out
        await shop.commands.PayOrder(a_payment(orders[2]))
        await level(own_system, 8)
        assert (await said(own_system, "verify"))[0] == 0


async def test_a_sample_finds_what_is_wrong_with_single_orders(own_system: System) -> None:
    await own_system.up()
    async with visiting(own_system) as shop:
        orders = await some_orders(shop)
    await level(own_system, 7)
    edit(own_system, "UPDATE orders SET status = 9 WHERE order_id = ?", orders[3])
    code, told = await verified(own_system, "orders", "--sample", "100")
    assert code == 1
    (difference,) = [each["difference"] for each in told if "difference" in each]
    assert difference["key"] == [orders[3]]
    assert [field["field"] for field in difference["fields"]] == ["status"]
    summary = told[-1]["summary"]
    assert (summary["differences"], summary["repaired"]) == ("1", "0")
    assert "order_customers" in summary["passed_over"][0]
    code, told = await verified(own_system, "orders", "--key", f"order-{orders[3]}", "--repair")
    assert code == 0
    assert (await verified(own_system, "orders"))[0] == 0


async def test_a_row_is_explained_by_its_events(own_system: System) -> None:
    await own_system.up()
    async with visiting(own_system) as shop:
        orders = await some_orders(shop)
    await level(own_system, 7)
    code, out, _ = await said(own_system, "explain", "orders", "orders", orders[0])
    assert code == 0
    for word in ("OrderCreated", "OrderPaid", "view.status", "ORDER_STATUS_PENDING", "ORDER_STATUS_PAID"):
        assert word in out
    _, out, _ = await said(own_system, "explain", "orders", "order_customers", "ada", "--json")
    steps = [json.loads(line) for line in out.splitlines()]
    assert [step["changes"][-1]["after"] for step in steps] == ["1", "2", "3", "4", "5"]
    code, out, _ = await said(own_system, "explain", "orders", "orders", "nobody")
    assert code == 0
    assert "no event made a row nobody" in out
    code, _, err = await said(own_system, "explain", "orders", "orders", "x" * 512, "--json")
    assert (code, err) == (0, ""), "no stream can have so long a name"
    code, _, err = await said(own_system, "verify", "orders", "--key", "")
    assert (code, err) == (1, "twofold: keys[0]: must be at least 1 characters\n")
    code, _, err = await said(own_system, "explain", "orders", "nothing", "x")
    assert (code, err) == (
        1,
        "twofold: projection orders has no table nothing; it has orders, order_customers\n",
    )


async def test_all_is_proved_right_after_one_read_model_was_built_anew(own_system: System) -> None:
    await own_system.up()
    async with visiting(own_system) as shop:
        await some_orders(shop)
    await level(own_system, 7)
    assert (await said(own_system, "rebuild", "orders"))[0] == 0
    code, out, err = await said(own_system, "verify")
    assert (code, out.count("no difference from the log")) == (0, 3), out + err


async def test_nothing_is_found_while_commands_are_taken(own_system: System) -> None:
    await own_system.up()
    done = asyncio.Event()
    async with visiting(own_system) as shop:

        async def busy() -> int:
            count = 0
            while not done.is_set():
                order_id = await shop.create()
                await shop.commands.PayOrder(a_payment(order_id))
                count += 1
            return count

        work = asyncio.create_task(busy())
        try:
            for arguments in ((), ("--sample", "50"), ("--repair",)):
                code, told = await verified(own_system, "orders", *arguments)
                assert (code, [each for each in told if "difference" in each]) == (0, [])
        finally:
            done.set()
        assert await work > 10


async def test_what_was_edited_by_hand_is_noticed_in_the_background_and_told_by_health(
    own_system: System,
) -> None:
    await own_system.up(verify_rows_per_second="50")
    async with visiting(own_system) as shop:
        orders = await some_orders(shop)
    await level(own_system, 7)
    assert await own_system.health("projector", "twofold.proof") == SERVING
    edit(own_system, "UPDATE orders SET status = 9 WHERE order_id = ?", orders[3])

    async def is_told() -> bool:
        return await own_system.health("projector", "twofold.proof") == NOT_SERVING

    await until(is_told, "the row is noticed")
    assert await own_system.health("projector", "twofold.projector") == SERVING
    _, out, _ = await said(own_system, "status", "orders", "--json")
    assert f"orders {orders[3]}: status is 9, not 1" in json.loads(out)["trouble"]
    assert (await verified(own_system, "orders", "--repair"))[0] == 0

    async def is_right_again() -> bool:
        return await own_system.health("projector", "twofold.proof") == SERVING

    await until(is_right_again, "the mended row is noticed")
