"""Builds of a projection: begun beside the one that queries read, switched to, kept, dropped.

Each of these is one transaction: it is done, or nothing of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, text, update

from twofold_server.errors import NotFound, Rejected
from twofold_server.modelling import Projection
from twofold_server.projections.attempts import forget_attempts
from twofold_server.projections.checkpoints import Checkpoint, builds, fresh, insert_build, read_builds
from twofold_server.projections.letters import Scope, remove_all
from twofold_server.projections.parts import drop_parts, read_parts
from twofold_server.projections.skips import forget_skips
from twofold_server.projections.status import BuildState
from twofold_server.projections.tables import FIRST, drop_beside, make_beside, rename

LOCK_MILLISECONDS = 200
"""How long a switch waits for queries under way on PostgreSQL; as long, new queries wait for the switch."""


class NotLevel(Exception):
    """The build is behind the live one; nothing was switched."""


def begin(connection: Connection, projection: Projection, log_id: str, plan: str = "") -> Checkpoint:
    """Make the tables of a new build, empty; raises Rejected where one is being built already.

    ``plan`` says how to build it, for whoever goes on with it.
    """
    if connection.dialect.name == "postgresql":
        # Two projectors may begin at the same moment. The number is arbitrary.
        connection.execute(text("SELECT pg_advisory_xact_lock(727263)"))
    known = read_builds(connection, projection.name)
    if (building := building_of(known)) is not None:
        raise under_way(building)
    number = max((each.build for each in known), default=FIRST) + 1
    begun = fresh(projection, log_id, build=number, state=BuildState.BUILDING, plan=plan)
    make_beside(connection, projection, begun.build)
    insert_build(connection, begun)
    return begun


def switch(connection: Connection, projection: str, build: int, *, behind: bool = False) -> Checkpoint:
    """Let queries read another build; the one that they read is kept. The new live build's checkpoint.

    Whoever writes either build is fenced out, and has to take over anew. Raises NotLevel where the build is
    behind the live one, unless it may be ``behind``, Rejected where it is not complete, and NotFound.
    """
    _keep_others_out(connection)
    known = read_builds(connection, projection)
    wanted = _find(known, projection, build)
    live = live_of(known)
    if live is not None and live.build == build:
        return wanted
    if live is not None and live.position > wanted.position and not behind:
        raise NotLevel(f"build {build} is at position {wanted.position}, the live one at {live.position}")
    if read_parts(connection, projection, build):
        raise Rejected("BUILD_NOT_READY", f"build {build} of {projection} is not complete yet")
    epoch = max(each.epoch for each in known) + 1
    if live is not None:
        _set_state(connection, replace(live, state=BuildState.KEPT, epoch=epoch))
        rename(connection, live.tables, build=live.build, live=False)
    switched = replace(wanted, state=BuildState.LIVE, epoch=epoch + 1)
    _set_state(connection, switched)
    rename(connection, wanted.tables, build=build, live=True)
    return switched


def resume(connection: Connection, projection: str, build: int, plan: str = "") -> Checkpoint:
    """Turn a kept build into one that is being built, so that it can be brought level; one that is being
    built gets the new plan. Raises NotFound, and Rejected where another one is being built."""
    known = read_builds(connection, projection)
    found = _find(known, projection, build)
    building = building_of(known)
    if building is not None and building.build != build:
        raise under_way(building)
    if found.state is not BuildState.LIVE:
        found = replace(found, state=BuildState.BUILDING, epoch=found.epoch + 1, plan=plan)
        _set_state(connection, found)
    return found


def drop(connection: Connection, projection: str, build: int) -> None:
    """Delete a build; raises Rejected for the live one, NotFound where there is none."""
    found = _find(read_builds(connection, projection), projection, build)
    if found.state is BuildState.LIVE:
        raise Rejected(
            "BUILD_IS_LIVE", f"queries read build {build} of {projection}; switch to another first"
        )
    # The row goes first: whoever writes the build holds it, and finds none afterwards.
    connection.execute(delete(builds).where(_is(found)))
    drop_parts(connection, projection, build)
    remove_all(connection, Scope(projection, build))
    forget_attempts(connection, Scope(projection, build))
    forget_skips(connection, Scope(projection, build))
    drop_beside(connection, found.tables, build)


def live_of(known: list[Checkpoint]) -> Checkpoint | None:
    """The build that queries read."""
    return next((each for each in known if each.state is BuildState.LIVE), None)


def building_of(known: list[Checkpoint]) -> Checkpoint | None:
    """The build that is being built, or waits to be switched to."""
    return next((each for each in known if each.state is BuildState.BUILDING), None)


def last_live_of(known: list[Checkpoint]) -> Checkpoint | None:
    """The kept build that queries read before the last switch."""
    kept = [each for each in known if each.state is BuildState.KEPT]
    return max(kept, key=lambda each: each.epoch, default=None)


def under_way(building: Checkpoint) -> Rejected:
    """Why no other build can be begun."""
    return Rejected(
        "BUILD_UNDER_WAY",
        f"build {building.build} of {building.projection} is being built already; switch to it or drop it",
    )


def _keep_others_out(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Every query reads the checkpoint first, see read_checkpoint: so none is in the midst of it now.
        connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}"))
        connection.execute(text(f"LOCK TABLE {builds.name} IN ACCESS EXCLUSIVE MODE"))


def _find(known: list[Checkpoint], projection: str, build: int) -> Checkpoint:
    for each in known:
        if each.build == build:
            return each
    raise NotFound(
        f"projection {projection} has no build {build}",
        reason="BUILD_NOT_FOUND",
        metadata={"projection": projection, "build": str(build)},
    )


def _set_state(connection: Connection, following: Checkpoint) -> None:
    values = {"state": following.state.value, "epoch": following.epoch, "plan": following.plan}
    connection.execute(update(builds).where(_is(following)).values(values))


def _is(checkpoint: Checkpoint) -> Any:
    return (builds.c.projection == checkpoint.projection) & (builds.c.build == checkpoint.build)
