"""A newer version of a projection is built beside by itself; who knows another version answers nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conditions import until
from tests.integration.test_projector import World, world
from twofold_server.errors import OtherReadModel, Rejected
from twofold_server.projections.checkpoints import read_builds, read_checkpoint
from twofold_server.projections.projector import Projector
from twofold_server.projections.rebuilding import Plan
from twofold_server.queries.versions import ReadModelVersions

pytestmark = pytest.mark.timeout(60)
__all__ = ["world"]


async def builds(world: World) -> dict[int, tuple[str, int]]:
    """State and version of each build, by number."""
    known = await world.database.read(lambda c: read_builds(c, "orders"))
    return {each.build: (each.state.value, each.version) for each in known}


def are(world: World, wanted: dict[int, tuple[str, int]]) -> Callable[[], Any]:
    """Whether these are the builds by now."""

    async def found() -> bool:
        return await builds(world) == wanted

    return found


async def with_version_1(world: World) -> None:
    """A read model as a projector of version 1 leaves it."""
    async with world.projector():
        await world.commands.happens(120)
        await world.becomes_level()


async def test_a_newer_version_is_built_beside_and_switched_to_by_itself(world: World) -> None:
    await with_version_1(world)
    async with world.projector(version=2) as projector:
        await until(are(world, {1: ("kept", 1), 2: ("live", 2)}), "version 2 is live", seconds=20)
        await world.commands.happens(40)
        await world.becomes_level()
        await until(lambda: not projector.trouble, "it serves")


async def test_after_a_rollback_the_newer_version_is_not_switched_to_again(world: World) -> None:
    await with_version_1(world)
    async with world.projector(version=2) as projector:
        await until(are(world, {1: ("kept", 1), 2: ("live", 2)}), "version 2 is live", seconds=20)
        await projector.keepers["orders"].rollback(at_once=False)
        assert await builds(world) == {1: ("live", 1), 2: ("kept", 2)}
        await until(
            lambda: "the live build of orders is of version 1" in projector.trouble, "it says why it waits"
        )
    async with world.projector():  # the former version goes on
        await world.commands.happens(40)
        await world.becomes_level()
        assert await builds(world) == {1: ("live", 1), 2: ("kept", 2)}


async def test_an_older_version_leaves_a_newer_read_model_alone(world: World) -> None:
    async with world.projector(version=2):
        await world.commands.happens(20)
        await world.becomes_level()
    async with world.projector(version=1) as projector:
        await until(
            lambda: "this projector has version 1" in projector.trouble, "it says what is wrong", seconds=10
        )
        assert await world.position() == 20
        with pytest.raises(Rejected, match="no earlier build"):
            await projector.keepers["orders"].rollback(at_once=False)


async def test_queries_of_another_version_are_refused_with_both_versions(world: World) -> None:
    await with_version_1(world)
    known = ReadModelVersions({"orders": 1}, read_checkpoint)
    found = await world.database.read(lambda c: known.read(c, "orders"))
    assert found is not None
    assert known.trouble == ""
    newer = ReadModelVersions({"orders": 2}, read_checkpoint)
    with pytest.raises(OtherReadModel, match="of version 1, this server answers from version 2") as caught:
        await world.database.read(lambda c: newer.read(c, "orders"))
    assert caught.value.reason == "READ_MODEL_VERSION"
    assert "orders is of version 1" in newer.trouble


async def built(projector: Projector, **plan: Any) -> None:
    """Rebuild to the end."""
    async for _ in projector.keepers["orders"].rebuild(Plan(**plan)):
        pass


async def test_rebuilds_and_rollbacks_in_a_row_while_events_come_in(world: World) -> None:
    await with_version_1(world)
    async with world.projector() as projector:
        keeper = projector.keepers["orders"]
        for _ in range(3):
            await built(projector)
            await world.commands.happens(15)
            await world.becomes_level()
            await keeper.rollback(at_once=False)
            await world.commands.happens(15)
            await world.becomes_level()
            await keeper.drop(0)
        assert [state for state, _ in (await builds(world)).values()] == ["live"]
