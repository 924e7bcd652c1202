"""A store that fails and callers that give up: nothing half done, nothing wrong remembered."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.command_side import CommandSide, command_side
from tests.unit.order_messages import ORDER, add, added, create, created
from tests.unit.stores import AWAY, ControlledStore
from twofold_server.errors import Unavailable

REQUEST = "7d9f0f5e-7a55-4ac4-a55b-1b5f5d1f2a01"


async def test_a_store_that_is_away_is_unavailable_and_the_next_command_works(
    server: CommandSide, store: ControlledStore
) -> None:
    await server.send(create())
    store.failures.append(AWAY)
    with pytest.raises(Unavailable):
        await server.send(add("milk"))
    receipt = await server.send(add("jam"))
    assert receipt.version == 2
    assert await server.facts(ORDER) == [created(), added("jam")]


async def test_a_commit_that_succeeded_although_it_was_reported_as_failed_is_built_upon(
    server: CommandSide, store: ControlledStore
) -> None:
    await server.send(create())
    store.failures.append(AWAY)
    store.fails_after_writing = True
    with pytest.raises(Unavailable):
        await server.send(add("milk"), request_id=REQUEST)
    again = await server.send(add("milk"), request_id=REQUEST)
    assert (again.version, again.replayed) == (2, True)
    assert (await server.send(add("jam"))).version == 3


async def test_a_state_that_cannot_be_loaded_is_unavailable_and_tried_again(
    server: CommandSide, store: ControlledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.send(create())
    fresh = command_side(store)
    monkeypatch.setattr(store, "load_stream", _away)
    outcomes = await asyncio.gather(*(fresh.send(add("jam")) for _ in range(3)), return_exceptions=True)
    assert [type(o) for o in outcomes] == [Unavailable] * 3
    monkeypatch.undo()
    assert (await fresh.send(add("jam"))).version == 2


async def _away(*_: object, **__: object) -> None:
    raise AWAY


async def test_a_cancelled_callers_command_is_committed_whole(
    server: CommandSide, store: ControlledStore
) -> None:
    store.hold()
    task = asyncio.create_task(server.send(create(), request_id=REQUEST))
    await store.batch_waits()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.release()
    await server.writer.close()
    assert await server.facts(ORDER) == [created()]
    assert (await server.send(create(), request_id=REQUEST)).replayed
    assert (await server.send(add("milk"))).version == 2


async def test_a_caller_that_gives_up_while_loading_does_not_fail_the_others(
    server: CommandSide, store: ControlledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.send(create())
    fresh, gate, load = command_side(store), asyncio.Event(), store.load_stream

    async def slowly(*arguments: object, **named: object) -> object:
        await gate.wait()
        return await load(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "load_stream", slowly)
    first, second = (asyncio.create_task(fresh.send(add(product))) for product in ("milk", "jam"))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert (await second).version == 2
    assert first.cancelled()
