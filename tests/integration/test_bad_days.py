"""Bad days between broker and projector: in the end the read model is the fold of the log all the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from tests.integration.test_projector import World, is_published, is_troubled, is_well, operator, world
from twofold_server.database.turns import NobodyElse
from twofold_server.event_store.events import RecordedEvent
from twofold_server.projections.sources import Hints
from twofold_server.publishing.stream import STREAM

__all__ = ["world"]

pytestmark = pytest.mark.timeout(120)
STRATEGIES = ("eventual", "immediate", "batched(20, 0.1)", "scheduled(0.3)")


class BadWay:
    """Loses, doubles, delays and shuffles what a broker brings."""

    def __init__(self, hints: Hints, seed: int) -> None:
        self._hints = hints
        self._dice = random.Random(seed)
        self._late: list[RecordedEvent] = []
        self._old: list[RecordedEvent] = []
        self.arrived = 0

    @property
    def trouble(self) -> str:
        return self._hints.trouble

    def follow(self, log_id: str) -> None:
        self._hints.follow(log_id)

    async def next(self, after: int, timeout: float) -> Sequence[RecordedEvent]:
        arriving = [*self._late, *await self._hints.next(after, timeout)]
        self._late, here = [], []
        for event in arriving:
            match self._dice.choice(("lost", "doubled", "late", "well", "well", "well")):
                case "doubled":
                    here += [event, event]
                case "late":
                    self._late.append(event)
                case "well":
                    here.append(event)
        here += self._dice.sample(self._old, min(3, len(self._old)))
        self._old = [*self._old, *here][-50:]
        if self._dice.random() < 0.5:
            self._dice.shuffle(here)
        self.arrived += len(arriving)
        return here

    def reset(self) -> None:
        self._hints.reset()

    def look_failed(self) -> None:
        self._hints.look_failed()

    async def close(self) -> None:
        await self._hints.close()


@pytest.mark.parametrize("sync", STRATEGIES)
@pytest.mark.parametrize("seed", [1, 2])
async def test_messages_that_are_lost_doubled_late_and_shuffled_do_no_harm(
    world: World, sync: str, seed: int
) -> None:
    ways: list[BadWay] = []

    def between(hints: Hints) -> Hints:
        ways.append(BadWay(hints, seed))
        return ways[-1]

    await world.commands.happens(20)
    async with world.projector(sync, between=between) as projector:
        await world.becomes_level()
        await is_published(world)
        for _ in range(20):
            await grow(world, 2)
            await is_published(world)
        await world.becomes_level()
        assert projector.trouble == ""
    assert any(way.arrived for way in ways) or sync.startswith("scheduled"), "nothing came from the broker"


@pytest.mark.parametrize("harm", ["purge", "delete"])
async def test_a_stream_that_is_emptied_again_and_again_while_events_flow_loses_nothing(
    world: World, harm: str
) -> None:
    async with world.projector() as projector, operator(world.broker) as js:
        for _ in range(4):
            await world.commands.happens(40)
            await is_published(world)
            growing = asyncio.create_task(grow(world, 10))
            await (js.purge_stream(STREAM) if harm == "purge" else js.delete_stream(STREAM))
            await growing
        await world.becomes_level()
        await is_published(world)
        assert projector.trouble == ""


async def grow(world: World, times: int) -> None:
    """Events happen, a few at a time."""
    for _ in range(times):
        await world.commands.happens(5)
        await asyncio.sleep(0.005)


async def test_a_poisonous_event_among_many_is_parked_alone(world: World) -> None:
    await world.commands.happens(30)
    async with world.projector() as projector:
        await world.commands.nonsense()
        for _ in range(5):
            await world.commands.happens(20)
        await world.becomes_level(without="order-nobody")
        redelivery = projector.redeliveries()["orders"]
        assert [(each.stream_name, each.position) for each in await redelivery.letters()] == [
            ("order-nobody", 31)
        ]
        assert projector.trouble == ""


async def test_a_projector_says_that_it_does_not_move_on_whatever_its_strategy(world: World) -> None:
    for sync in STRATEGIES:
        await world.commands.happens(10)
        async with world.projector(sync) as projector:
            await world.becomes_level()
            await is_well(projector)
            await world.commands.stop_service()
            world.broker.kill()
            await is_troubled(projector, "no progress for")
            await world.broker.start()
            await world.commands.start_service()
            await is_well(projector)


async def test_a_read_model_that_jumps_back_under_a_running_projector_is_folded_again(world: World) -> None:
    """As when a backup of PostgreSQL is restored beside it: the fence tells, and the log has the rest."""
    await world.commands.happens(40)
    async with world.projector(turns=NobodyElse()) as projector:
        await world.becomes_level()
        await world.jumps_back()
        await world.commands.happens(40)
        await world.becomes_level()
        async with asyncio.timeout(20):
            while projector.trouble:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
