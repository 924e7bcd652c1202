"""What callers were told: the only thing that the system is judged by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from twofold.v1.command_pb2 import Receipt


@dataclass(frozen=True)
class Acknowledged:
    """A command that was said to be done."""

    request_id: str
    method: str
    order_id: str
    version: int
    position: int


@dataclass
class Journal:
    """Everything that all callers of a drill were told."""

    done: dict[str, Acknowledged] = field(default_factory=dict)
    """By request id."""
    refused: dict[str, str] = field(default_factory=dict)
    """The reason, by request id."""
    contradictions: list[str] = field(default_factory=list)
    """What was told that cannot be true beside something else that was told."""
    counts: Counter[str] = field(default_factory=Counter)
    """Everything else that happened, by what it was."""

    def acknowledge(self, request_id: str, method: str, receipt: Receipt) -> None:
        """A command was said to be done, for the first time or again."""
        told = Acknowledged(request_id, method, receipt.aggregate_id, receipt.version, receipt.position)
        before = self.done.setdefault(request_id, told)
        if before != told:
            self.contradictions.append(f"{told} contradicts {before}")
        if request_id in self.refused:
            self.contradictions.append(f"{told} was refused before: {self.refused[request_id]}")

    def refuse(self, request_id: str, method: str, reason: str) -> None:
        """A command was said to be impossible, for good."""
        self.refused[request_id] = reason
        self.counts[f"refused: {reason}"] += 1
        if request_id in self.done:
            self.contradictions.append(f"{method} {request_id} is refused ({reason}), but was done")
