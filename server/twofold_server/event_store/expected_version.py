"""Optimistic concurrency: what version a stream must have for an append, as a closed type."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Any:
    """Whatever the version is."""


@dataclass(frozen=True, slots=True)
class NoStream:
    """The stream must not exist."""


@dataclass(frozen=True, slots=True)
class Exactly:
    """The stream must have this version, from 1."""

    version: int


ExpectedVersion = Any | NoStream | Exactly


def expected(version: int) -> ExpectedVersion:
    """The expectation of who saw this stream version (0: no stream)."""
    return Exactly(version) if version else NoStream()


def holds(expectation: ExpectedVersion, actual: int) -> bool:
    """Whether a stream at version ``actual`` (0: no stream) meets the expectation."""
    match expectation:
        case Any():
            return True
        case NoStream():
            return actual == 0
        case Exactly(version):
            return actual == version
