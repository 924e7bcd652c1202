"""An order whose row was damaged is parked, shown, and applied again when the damage is mended."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from tests.e2e.conditions import until
from tests.e2e.shop import a_payment, visiting
from tests.e2e.systems import System
from tests.e2e.test_projections_command import listed, said


def damage(system: System, order_id: str) -> tuple[Any, ...]:
    """Take a row away, as a hand that slipped; what was in it."""
    with sqlite3.connect(system.read_database) as connection:
        row: tuple[Any, ...] = connection.execute(
            "SELECT * FROM orders WHERE order_id = ?", [order_id]
        ).fetchone()
        connection.execute("DELETE FROM orders WHERE order_id = ?", [order_id])
    connection.close()
    return row


def mend(system: System, row: tuple[Any, ...]) -> None:
    """Put it back."""
    with sqlite3.connect(system.read_database) as connection:
        connection.execute(f"INSERT INTO orders VALUES ({', '.join('?' * len(row))})", row)
    connection.close()


async def test_a_parked_order_is_shown_retried_and_skipped(own_system: System) -> None:
    await own_system.up()
    async with visiting(own_system) as shop:
        first = await shop.create()
        second = await shop.create()

        async def level() -> bool:
            return bool((await listed(own_system))["orders"]["state"] == "PROJECTION_STATE_LEVEL")

        await until(level, "the orders are in the read model")
        rows = {order_id: damage(own_system, order_id) for order_id in (first, second)}
        await shop.commands.PayOrder(a_payment(first))
        await shop.commands.PayOrder(a_payment(second))

    async def parked() -> bool:
        return bool((await listed(own_system))["orders"]["dead_letter_count"] == "2")

    await until(parked, "both payments are parked")
    code, out, _ = await said(own_system, "dead-letters", "orders")
    assert code == 0
    assert f"order-{first}" in out
    assert "LookupError: no row for order" in out
    code, out, _ = await said(own_system, "dead-letters", "--json")
    letters = [json.loads(line) for line in out.splitlines()]
    assert [(each["key"], each["attempts"]) for each in letters] == [
        (f"order-{first}", 5),
        (f"order-{second}", 5),
    ]
    code, out, _ = await said(own_system, "retry", "orders", f"order-{first}")
    assert (code, out[:44]) == (1, "0 events applied, 1 still parked: LookupErro")
    mend(own_system, rows[first])
    code, out, _ = await said(own_system, "retry", "orders", f"order-{first}", "--json")
    assert (code, json.loads(out)) == (0, {"applied": "1", "remaining": "0", "error": ""})
    why = ("--reason", "it was paid twice", "--by", "ada")
    code, out, _ = await said(own_system, "skip", "orders", f"order-{second}", letters[1]["position"], *why)
    assert (code, out) == (0, "0 events applied\n")
    code, out, _ = await said(own_system, "dead-letters")
    assert (code, out) == (0, "no dead letters\n")
