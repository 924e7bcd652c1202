"""The README's first session works as it is printed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from tests.e2e.conditions import until
from tests.e2e.grpcurl import grpcurl_program
from tests.e2e.systems import System

README = Path(__file__).resolve().parents[2] / "README.md"
CONTAINS_IN_ORDER = (
    '"aggregateId"',  # the receipt
    '"status": "ORDER_STATUS_PENDING"',  # read back
    '"status": "ORDER_STATUS_PAID"',  # listed
    '"averagePrice"',  # sold
    "shop.orders.v1.OrderCreated",  # the events so far
    "shop.orders.v1.OrderPaid",
)


def the_session(system: System) -> str:
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    [session] = [block for block in blocks if "Subscribe" in block and "CreateOrder" in block]
    assert "localhost:50051" in session
    here: str = session.replace("localhost:50051", system.command_address)
    return here.replace("localhost:50052", system.query_address)


def is_in_order(text: str, parts: tuple[str, ...]) -> bool:
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None


@pytest.mark.grpcurl
async def test_the_session_in_the_readme_creates_reads_pays_lists_and_watches(
    system: System, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with open(output, "wb") as file:  # noqa: ASYNC230 - it is the process that writes
        process = await asyncio.create_subprocess_exec(
            *("sh", "-eu", "-c", the_session(system)),
            stdout=file,
            stderr=file,
            env=os.environ | {"PATH": f"{Path(grpcurl_program()).parent}:{os.environ['PATH']}"},
            start_new_session=True,
        )
    try:
        await until(
            lambda: is_in_order(output.read_text(), CONTAINS_IN_ORDER) or process.returncode is not None,
            lambda: f"the session comes to its end: {output.read_text()}",
        )
        assert process.returncode is None, output.read_text()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)  # SIGINT is ignored where this itself runs behind an &
        await process.wait()
