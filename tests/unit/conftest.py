"""What unit tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.unit.command_side import CommandSide, command_side
from tests.unit.stores import ControlledStore

# A time limit for each example of a property would break on a busy machine.
settings.register_profile("twofold", deadline=None)
settings.load_profile("twofold")


@pytest.fixture
def store() -> ControlledStore:
    """A store in memory that can be held and broken."""
    return ControlledStore()


@pytest.fixture
def server(store: ControlledStore) -> CommandSide:
    """A command server on it."""
    return command_side(store)
