"""What a proof has looked at and found so far."""

from __future__ import annotations

from twofold_server.projections.proof.findings import Part, Progress, Summary


class Tally:
    """What has been found so far."""

    def __init__(self, position: int, *, total: int) -> None:
        self.total = total
        self.passed_over: tuple[str, ...] = ()
        self._position = position
        self._rows = 0
        self._rules = 0
        self._rules_held: tuple[str, ...] = ()
        self._differences = 0
        self._repaired = 0

    def add(self, part: Part, *, repaired: bool) -> None:
        """Count a part."""
        self._rows += part.rows
        self._differences += len(part.differences)
        self._repaired += len(part.differences) if repaired else 0

    def add_rule(self, name: str, *, holds: bool) -> None:
        """Count a rule."""
        self._rules += 1
        if holds:
            self._rules_held += (name,)
        else:
            self._differences += 1

    def progress(self) -> Progress:
        """How far it is."""
        return Progress(
            position=self._position,
            head=self._position,
            checked=self._rows,
            total=max(self.total, self._rows),
        )

    def summary(self) -> Summary:
        """The end."""
        return Summary(
            position=self._position,
            rows=self._rows,
            differences=self._differences,
            repaired=self._repaired,
            rules=self._rules,
            rules_held=self._rules_held,
            passed_over=self.passed_over,
        )
