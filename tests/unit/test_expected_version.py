"""Optimistic concurrency: one closed type, one checker."""

from __future__ import annotations

import pytest

from twofold_server.event_store.expected_version import (
    Any,
    Exactly,
    ExpectedVersion,
    NoStream,
    expected,
    holds,
)


@pytest.mark.parametrize(
    ("expectation", "met_by"),
    [(Any(), {0, 1, 2, 3}), (NoStream(), {0}), (Exactly(1), {1}), (Exactly(3), {3})],
    ids=str,
)
def test_an_expectation_holds_for_its_versions_and_no_others(
    expectation: ExpectedVersion, met_by: set[int]
) -> None:
    assert {version for version in range(4) if holds(expectation, version)} == met_by


@pytest.mark.parametrize(("version", "expectation"), [(0, NoStream()), (1, Exactly(1)), (7, Exactly(7))])
def test_who_saw_a_version_expects_it(version: int, expectation: ExpectedVersion) -> None:
    assert expected(version) == expectation


@pytest.mark.parametrize("seen", range(4))
def test_what_was_seen_holds_until_the_stream_moves_on(seen: int) -> None:
    assert holds(expected(seen), seen)
    assert not any(holds(expected(seen), later) for later in range(seen + 1, seen + 4))
