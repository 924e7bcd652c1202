"""grpcurl: the way of a person with a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest


def grpcurl_program() -> str:
    """Where it is; skips the test where it is not, and fails it in CI."""
    found = shutil.which("grpcurl", path=f"{Path('.venv/bin').absolute()}:{os.environ.get('PATH', '')}")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("grpcurl is missing; `make test` builds it")
    if found is None:
        pytest.skip("grpcurl is missing; `make test` builds it")
    return found


async def grpcurl(*arguments: str) -> str:
    """What grpcurl prints; fails where it fails."""
    process = await asyncio.create_subprocess_exec(
        grpcurl_program(),
        "-plaintext",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def call(address: str, method: str, **request: Any) -> Any:
    """The answer of a unary RPC."""
    return json.loads(await grpcurl("-d", json.dumps(request), address, method))


async def grpcurl_follows(text: str, *arguments: str) -> None:
    """Follow a stream until a text comes; then end grpcurl, as Ctrl-C would."""
    process = await asyncio.create_subprocess_exec(
        grpcurl_program(),
        "-plaintext",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while text not in (await process.stdout.readline()).decode():
                assert not process.stdout.at_eof()
    finally:
        process.terminate()
        await process.communicate()
