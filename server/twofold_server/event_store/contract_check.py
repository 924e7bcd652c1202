"""Whether today's contract can read every stored event, and what keeps it from that."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from google.protobuf.message import DecodeError, Message

from twofold_server.errors import StartupError
from twofold_server.event_store.sql.contracts import Accepted, ContractHistory
from twofold_server.messages.compatibility import Change, changes_between, removed_event
from twofold_server.messages.contract import ContextContract, EventContract
from twofold_server.messages.descriptors import EventDescriptors, describe

REACH = 20_000
"""Positions that one read looks through."""
Progress = Callable[[int, int], None]
"""Told after each read of stored events: the position reached, and the last one."""
_SINGULAR = {"carry": "carries", "have": "has"}


@dataclass(frozen=True, slots=True)
class Break:
    """A change of the contract that stored events suffer from."""

    package: str
    change: Change
    count: int
    """How many stored events it hits."""

    def __str__(self) -> str:
        verb, _, rest = self.change.hit.partition(" ")
        hit = f"events {verb}" if self.count > 1 else f"event {_SINGULAR[verb]}"
        return f"{self.change.what}; {self.count:,} stored {hit} {rest}"


@dataclass(frozen=True, slots=True)
class Findings:
    """What came out of a check."""

    today: Mapping[str, EventDescriptors]
    """Today's events by package."""
    accepted: Mapping[str, Accepted]
    """What the log was written under, by package."""
    breaks: Sequence[Break]
    """None where every stored event can be read."""

    @property
    def fresh(self) -> list[EventDescriptors]:
        """What is new or changed since it was accepted last."""
        return [each for each in self.today.values() if _is_fresh(each, self.accepted)]

    @property
    def dropped(self) -> set[str]:
        """Former packages that a loaded context used to read, and reads no more."""
        return {
            package
            for package, former in self.accepted.items()
            if package not in self.today and former.context in self.today
        }


async def check_contracts(
    contexts: Sequence[ContextContract],
    history: ContractHistory,
    *,
    progress: Progress = lambda _position, _head: None,
) -> Findings:
    """Compare the events of the loaded contexts with those that the log was written under.

    Nothing changed: one short read. Else stored events are looked through, in batches, where a change may
    break them. The contract of a context that is not loaded is left alone.
    """
    found = Findings(describe(contexts), await history.accepted(), ())
    changes, before = await _changes_of(found, history)
    counts = await _count(changes, before, history, progress)
    breaks = [Break(*change, counts[n]) for n, change in enumerate(changes) if counts[n]]
    return replace(found, breaks=breaks)


async def require_readable(
    contexts: Sequence[ContextContract], history: ContractHistory, *, progress: Progress
) -> None:
    """Accept today's contract; raises StartupError where stored events would suffer from it."""
    findings = await check_contracts(contexts, history, progress=progress)
    if findings.breaks:
        first, *others = findings.breaks
        more = f" (and {len(others)} more like this)" if others else ""
        raise StartupError(f"the contract breaks stored events: {first}{more}; run `twofold contracts check`")
    await accept(findings, history)


async def accept(findings: Findings, history: ContractHistory) -> None:
    """Take today's contract as the log's."""
    await history.accept(findings.fresh, forget=findings.dropped)


def every_second(tell: Progress, *, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Progress that is told after a second, and then once a second."""
    told_at = clock()

    def progress(position: int, head: int) -> None:
        nonlocal told_at
        now = clock()
        if now - told_at >= 1:
            told_at = now
            tell(position, head)

    return progress


_Events = Mapping[str, EventContract]
_Found = tuple[str, Change]
"""A package and a change of it."""


def _is_fresh(each: EventDescriptors, accepted: Mapping[str, Accepted]) -> bool:
    former = accepted.get(each.package)
    return former is None or (former.hash, former.context) != (each.hash, each.context)


async def _changes_of(
    found: Findings, history: ContractHistory
) -> tuple[Sequence[_Found], Mapping[str, _Events]]:
    """What may break stored events, and the former events of the packages in question."""
    today, accepted = found.today, found.accepted
    fresh = {each.package for each in found.fresh}
    new = fresh - accepted.keys()
    missing = (accepted.keys() - today.keys()) if new else found.dropped
    asked = (fresh & accepted.keys()) | missing
    if not asked:
        return (), {}
    before = {package: each.events() for package, each in (await history.descriptors(asked)).items()}
    now = {package: today[package].events() for package in fresh} | {package: {} for package in found.dropped}
    return list(_changes(before, now, new)), before


def _changes(before: Mapping[str, _Events], now: Mapping[str, _Events], new: set[str]) -> Iterator[_Found]:
    for package, events in sorted(before.items()):
        if package in now:
            yield from ((package, change) for change in changes_between(events, now[package]))
        else:
            successors = (other for other in sorted(new) if _is_renamed(events, now[other]))
            if (successor := next(successors, None)) is not None:
                yield from ((package, change) for change in _renamed(events, successor, now[successor]))


def _is_renamed(events: _Events, other: _Events) -> bool:
    """Whether a package that is not loaded any more goes on as a new one: half of its events are there."""
    shared = _short_names(events) & _short_names(other)
    return bool(shared) and 2 * len(shared) >= len(events)


def _renamed(events: _Events, successor: str, other: _Events) -> Iterator[Change]:
    for name in events:
        short = name.rpartition(".")[2]
        yield removed_event(name, renamed_to=f"{successor}.{short}" if short in _short_names(other) else "")


def _short_names(events: _Events) -> set[str]:
    return {name.rpartition(".")[2] for name in events}


async def _count(
    changes: Sequence[_Found], before: Mapping[str, _Events], history: ContractHistory, progress: Progress
) -> Counter[int]:
    """How many stored events each change hits, by the place of the change in the list."""
    if not changes:
        return Counter()
    counts: Counter[int] = Counter()
    visit = partial(_visit, _by_event(changes), _classes(before), counts)
    head, position = await history.head(), 0
    while position < head:
        reach = min(head, position + REACH)
        await history.look_through(position, reach, {change.event for _, change in changes}, visit)
        position = reach
        progress(position, head)
    return counts


def _by_event(changes: Sequence[_Found]) -> Mapping[str, Sequence[tuple[int, Change]]]:
    found: dict[str, list[tuple[int, Change]]] = {}
    for n, (_, change) in enumerate(changes):
        found.setdefault(change.event, []).append((n, change))
    return found


def _classes(before: Mapping[str, _Events]) -> Mapping[str, type[Message]]:
    return {name: event.message for events in before.values() for name, event in events.items()}


def _visit(
    changes: Mapping[str, Sequence[tuple[int, Change]]],
    classes: Mapping[str, type[Message]],
    counts: Counter[int],
    type_name: str,
    revision: int,
    data: bytes,
) -> None:
    kind = classes[type_name]
    try:
        message = kind.FromString(data)
    except DecodeError:  # the former contract could not read it either: it carries nothing
        message = kind()
    for n, change in changes[type_name]:
        if change.hits(message, revision):
            counts[n] += 1
