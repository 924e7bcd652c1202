"""A read store that is restored from an old backup is noticed, and caught up from the log."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from shop.orders.v1.query_service_pb2 import GetOrderRequest
from tests.e2e.conditions import until
from tests.e2e.drill.read_model import audit_read_model
from tests.e2e.shop import Shop, a_payment, visiting
from tests.e2e.systems import System
from twofold.v1.reading_pb2 import ON_STALE_FAIL, ReadOptions


def back_up(system: System, to: Path) -> None:
    """Copy the read store while it is in use."""
    with closing(sqlite3.connect(system.read_database)) as live, closing(sqlite3.connect(to)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")


def restore(system: System, backup: Path) -> None:
    """Put the copy in the place of the read store; what belonged to the old one goes first."""
    for rest in ("-wal", "-shm"):
        Path(f"{system.read_database}{rest}").unlink(missing_ok=True)
    os.replace(backup, system.read_database)


async def sell(shop: Shop, orders: int) -> str:
    """Orders are created and paid; the token of the last payment."""
    token = ""
    for _ in range(orders):
        order_id = await shop.create()
        paid = await shop.commands.PayOrder(a_payment(order_id))
        token = paid.receipt.consistency_token
        fresh = ReadOptions(consistency_token=token, on_stale=ON_STALE_FAIL)
        answer = await shop.queries.GetOrder(GetOrderRequest(order_id=order_id, read_options=fresh))
        assert answer.order.version == 2
    return token


async def is_the_fold(system: System, shop: Shop) -> None:
    """The read store becomes the fold of the log again."""
    log = await shop.log()

    async def nothing_found() -> bool:
        try:
            return not any(audit_read_model(system.read_database, log).values())
        except sqlite3.OperationalError:
            return False  # between two files

    await until(nothing_found, "the read model is the fold of the log")


async def test_a_backup_that_is_restored_while_all_is_stopped_is_caught_up(
    own_system: System, tmp_path: Path
) -> None:
    up = await own_system.up()
    async with visiting(own_system) as shop:
        await sell(shop, 5)
        back_up(own_system, tmp_path / "backup")
        await sell(shop, 5)
    await up.stop()
    restore(own_system, tmp_path / "backup")
    await own_system.up()
    async with visiting(own_system) as shop:
        await sell(shop, 1)
        await is_the_fold(own_system, shop)


async def test_a_backup_that_is_restored_while_all_runs_is_noticed_and_caught_up(
    own_system: System, tmp_path: Path
) -> None:
    up = await own_system.up()
    async with visiting(own_system) as shop:
        await sell(shop, 5)
        back_up(own_system, tmp_path / "backup")
        await sell(shop, 5)
        restore(own_system, tmp_path / "backup")
        await up.said("projector is back")
        await sell(shop, 2)
        await is_the_fold(own_system, shop)
    assert "was replaced while it was open" in up.told
