"""Calls that are compared: sampled in turns, and told as lines of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from bench.load import Call, Sample, cpu, medians, rates, sample, warm
from bench.report import Line, at_most, ratio
from bench.run import Run
from bench.turns import in_turns

K = TypeVar("K")

IN_FLIGHT = 128


def sampled(run: Run, calls: Mapping[K, Call], *, in_flight: int = IN_FLIGHT) -> dict[K, list[Sample]]:
    """So many of each call in flight, one kind of call after the other."""
    return in_turns(
        run,
        {
            name: partial(sample, call, in_flight=in_flight, seconds=run.seconds)
            for name, call in calls.items()
        },
    )


def rate_lines(samples: Mapping[str, Sequence[Sample]]) -> Iterator[Line]:
    """How many answers a second, and what CPU each took."""
    for name, found in samples.items():
        yield Line(what=name, rounds=rates(found), unit="/s", cpu=cpu(found))


def few_and_many(
    run: Run, calls_of: Callable[[ExitStack, int], Mapping[str, Call]], *, few: int, many: int, most: float
) -> Sequence[Line]:
    """The latency of calls, one at a time, with few and with many orders, and how many times it grows.

    ``calls_of`` makes the calls to a system with so many orders; ``most`` is the goal.
    """
    with ExitStack() as stack:
        calls = {
            (name, count): call for count in (few, many) for name, call in calls_of(stack, count).items()
        }
        warm(*calls.values())
        samples = sampled(run, calls, in_flight=1)
    lines = [
        Line(what=f"{name}, {count:,} orders", rounds=medians(found), unit="ms")
        for (name, count), found in samples.items()
    ]
    for name in dict.fromkeys(name for name, _ in samples):
        over, under = samples[name, many], samples[name, few]
        what = f"{name}, {many:,} ÷ {few:,} orders"
        lines.append(ratio(what, medians(over), medians(under), at_most(most)))
    return lines
