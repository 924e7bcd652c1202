"""Which upcasters follow each other, checked at start: every stored revision must lead to today's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twofold_server.errors import StartupError
from twofold_server.messages.contract import ContextContract, EventContract, event_contract
from twofold_server.messages.upcasting import Chain, Key, Step
from twofold_server.modelling import Upcaster


def find_chains(contexts: Sequence[ContextContract]) -> Mapping[Key, Chain]:
    """The chain of every type and revision that is not today's; raises StartupError for a wrong upcaster.

    A type at revision N needs upcasters for 1 to N-1; one that became another type, for 1 to N.
    """
    today = {name: event for context in contexts for name, event in context.events.items()}
    steps = _steps(contexts)
    _check_gaps({step.stored.type_name: step.stored for step in steps.values()} | today, steps)
    return {key: _chain(key, steps, today) for key in steps}


def _steps(contexts: Sequence[ContextContract]) -> dict[Key, Step]:
    steps: dict[Key, Step] = {}
    for context in contexts:
        for upcaster in context.upcasters:
            step = _step(upcaster)
            _check_home(step, context, contexts)
            key = step.stored.type_name, upcaster.revision
            if key in steps:
                raise StartupError(f"{step} is there twice; remove one")
            steps[key] = step
    return steps


def _step(upcaster: Upcaster) -> Step:
    name, revision = upcaster.event.DESCRIPTOR.full_name, upcaster.revision
    stored = event_contract(upcaster.event)
    if stored is None:
        raise StartupError(f"{name} has an upcaster, but lacks the option twofold.v1.event; put it back")
    leaves = upcaster.into not in (None, upcaster.event)
    if upcaster.into_revision is not None and not leaves:
        raise StartupError(f"the upcaster of {name} revision {revision} has `into_revision` without `into`")
    if not 1 <= revision <= (stored.revision if leaves else stored.revision - 1):
        raise StartupError(
            f"nothing needs the upcaster of {name} revision {revision}: the proto says revision "
            f"{stored.revision}; raise that, name the type that it becomes with `into`, or remove it"
        )
    if leaves and revision != stored.revision:
        raise StartupError(
            f"{name} becomes another type at revision {revision}, but goes on to revision {stored.revision}; "
            "only its last revision can become another type"
        )
    return Step(upcaster, stored, _target(upcaster) if leaves else (name, revision + 1))


def _target(upcaster: Upcaster) -> Key:
    assert upcaster.into is not None
    name, into = upcaster.event.DESCRIPTOR.full_name, event_contract(upcaster.into)
    if into is None:
        raise StartupError(f"{name} becomes {upcaster.into.DESCRIPTOR.full_name}, which is no event")
    if upcaster.into_revision is None and into.revision > 1:
        raise StartupError(
            f"{name} becomes {into.type_name}, which has {into.revision} revisions; say with `into_revision` "
            "which one its upcaster returns"
        )
    revision = upcaster.into_revision or 1
    if not 1 <= revision <= into.revision:
        raise StartupError(f"{name} becomes {into.type_name} revision {revision}, which does not exist")
    return into.type_name, revision


def _check_home(step: Step, context: ContextContract, contexts: Sequence[ContextContract]) -> None:
    home = step.stored.message.DESCRIPTOR.file.package
    if home != context.package and home in {other.package for other in contexts}:
        raise StartupError(f"{step} is listed in {context.package}; move it to the context {home}")


def _check_gaps(types: Mapping[str, EventContract], steps: Mapping[Key, Step]) -> None:
    for name, event in types.items():
        for revision in range(1, event.revision):
            if (name, revision) not in steps:
                raise StartupError(
                    f"event {name} is at revision {event.revision}, but nothing reads its revision "
                    f"{revision}; add an Upcaster to its context"
                )


def _chain(key: Key, steps: Mapping[Key, Step], today: Mapping[str, EventContract]) -> Chain:
    found: list[Step] = []
    place = key
    while (step := steps.get(place)) is not None:
        if step in found:
            raise StartupError(f"{step} leads back to itself; every chain must end at today's type")
        found.append(step)
        place = step.leads_to
    if place[0] not in today:
        raise StartupError(f"{found[-1]} leads to {place[0]}, which no loaded context declares")
    return Chain(tuple(found), place[0])
