"""Why a row is as it is: the events that made it, and what each changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from twofold_server.event_store.events import RecordedEvent
from twofold_server.modelling import Projection
from twofold_server.projections.proof.differences import FieldDifference, changes
from twofold_server.projections.proof.shapes import Key, Shape, Values
from twofold_server.projections.proof.stored import Stand, read_rows, read_stand


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that an event changed, with its values as text; empty for none."""

    field: str
    """The column, and inside a message the path of the field."""
    before: str
    """Before the event."""
    after: str
    """After it."""


@dataclass(frozen=True, slots=True)
class Step:
    """An event and what it changed."""

    event: RecordedEvent
    """The event."""
    changes: tuple[FieldChange, ...]
    """What it changed in the row."""


@dataclass(slots=True)
class Story:
    """How a row came to be as it is."""

    shape: Shape
    """The table."""
    stored: Values | None
    """The row in the read store; None where there is none."""
    steps: list[Step] = field(default_factory=list)
    """The events that changed it, in order."""

    def tell(self, event: RecordedEvent, before: Values | None, after: Values | None) -> None:
        """Note what an event made of the row."""
        made = tuple(_change(each, before, after) for each in changes(self.shape, before, after))
        self.steps.append(Step(event, made))

    @property
    def row(self) -> Sequence[tuple[str, str]]:
        """The fields of the row as it is stored, as text."""
        found = changes(self.shape, self.stored, None)
        return [(each.field, each.stored) for each in found] if self.stored is not None else []


def read_story(connection: Connection, projection: Projection, shape: Shape, key: Key) -> tuple[Stand, Story]:
    """The row as it is, and where its read model stands."""
    stand = read_stand(connection, projection.name, projection.version)
    return stand, Story(shape, read_rows(connection, shape, [key]).get(key))


def _change(each: FieldDifference, before: Values | None, after: Values | None) -> FieldChange:
    return FieldChange(
        each.field, each.stored if before is not None else "", each.expected if after is not None else ""
    )
