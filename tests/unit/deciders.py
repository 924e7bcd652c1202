"""Given facts, when a command comes, then these facts, or a refusal: how tests read a decider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from twofold_server.errors import TwofoldError
from twofold_server.modelling import Decider, Given

NOW = Given(datetime(2026, 11, 20, 12, 0, tzinfo=UTC), "01932f0a-0000-7000-8000-000000000000")


@dataclass(frozen=True)
class Scenario:
    """An aggregate with a past."""

    decider: Decider[Any]
    past: Sequence[Message] = ()

    def given(self, *facts: Message) -> Scenario:
        """These facts have happened as well."""
        return Scenario(self.decider, (*self.past, *facts))

    @property
    def state(self) -> Any:
        """What the past comes to."""
        state = self.decider.initial_state()
        for fact in self.past:
            state = self.decider.evolve[type(fact)](state, fact)
        return state

    def when(self, command: Message) -> Decision:
        """A command is decided."""
        try:
            return Decision(list(self.decider.decide[type(command)](command, self.state, NOW)))
        except TwofoldError as refusal:
            return Decision([], refusal)


@dataclass(frozen=True)
class Decision:
    """What came of a command."""

    facts: Sequence[Message]
    refusal: TwofoldError | None = None

    def then(self, *facts: Message) -> None:
        """Exactly these facts happen."""
        assert self.refusal is None, self.refusal
        assert list(self.facts) == list(facts)

    def then_nothing(self) -> None:
        """The command is accepted, and nothing has to happen for it."""
        self.then()

    def then_refused(self, kind: type[TwofoldError], reason: str, **metadata: str) -> None:
        """The command is refused, for this reason and with these facts."""
        assert self.refusal is not None, self.facts
        assert type(self.refusal) is kind
        assert self.refusal.reason == reason
        assert self.refusal.metadata == metadata
        assert self.refusal.message
