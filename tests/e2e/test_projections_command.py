"""`twofold projections` against a running projector."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tests.e2e.conditions import until
from tests.e2e.shop import visiting
from tests.e2e.systems import SERVING, System


async def said(system: System, *arguments: str) -> tuple[int | None, str, str]:
    """Exit code, standard output and standard error of `twofold projections …`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "twofold_server", "projections", *arguments),
        env=system.environment() | {"COLUMNS": "160"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def listed(system: System) -> dict[str, Any]:
    """The projections as `list --json` tells them, by name."""
    code, out, err = await said(system, "list", "--json")
    assert code == 0, err
    return {each["name"]: each for each in map(json.loads, out.splitlines())}


async def test_projections_are_shown_to_people_and_to_scripts(own_system: System) -> None:
    await own_system.up()
    async with visiting(own_system) as shop:
        await shop.create()

    async def level() -> bool:
        return bool((await listed(own_system))["orders"]["position"] == "1")

    await until(level, "the order is in the read model")
    shown = (await listed(own_system))["orders"]
    assert (shown["state"], shown["lag_positions"]) == ("PROJECTION_STATE_LEVEL", "0")
    assert [(each["build"], each["state"]) for each in shown["builds"]] == [(1, "BUILD_STATE_LIVE")]
    code, out, _ = await said(own_system, "status", "orders")
    assert code == 0
    assert "orders" in out
    assert "level" in out
    assert await own_system.health("projector", "twofold.v1.ProjectionService") == SERVING


async def test_what_cannot_be_shown_is_said_in_one_line(own_system: System) -> None:
    code, _, err = await said(own_system, "list")
    assert (code, err.count("\n")) == (2, 1)
    assert "no projector answers at" in err
    await own_system.up()
    code, _, err = await said(own_system, "status", "nothing")
    assert code == 1
    assert "there is no projection nothing; there are order_sales" in err
