"""A running shop for the tests that change nothing but its log; tests that kill start their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.shop import Shop, visiting
from tests.e2e.systems import System, a_system


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system that is up, shared by all tests of a worker."""
    folder = tmp_path_factory.mktemp("shop")
    async with a_system(folder, log_format="json", log_level="debug") as found:
        await found.up()
        yield found


@pytest.fixture
async def shop(system: System) -> AsyncIterator[Shop]:
    """The way to the shared system."""
    async with visiting(system) as found:
        yield found


@pytest.fixture
async def own_system(tmp_path: Path) -> AsyncIterator[System]:
    """A system for one test alone; nothing of it runs yet."""
    async with a_system(tmp_path, log_level="info") as found:
        yield found


@pytest.fixture
def another_system(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[System]]:
    """Makes further systems in the folder of the test."""
    return partial(a_system, tmp_path)
