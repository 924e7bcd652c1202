"""`twofold projections explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twofold.v1 import projection_service_pb2 as pb
from twofold_server.app.read_models.calling import call
from twofold_server.app.read_models.showing import print_json
from twofold_server.settings import Settings

if TYPE_CHECKING:
    from twofold.v1.projection_service_pb2_grpc import ProjectionServiceAsyncStub

PAGE = 1000


def explain(settings: Settings, *, name: str, table: str, key: Sequence[str], as_json: bool) -> int:
    """Show the events that made a row."""

    async def work(projector: ProjectionServiceAsyncStub) -> None:
        request = pb.ExplainRowRequest(projection=name, table=table, key=key, page_size=PAGE)
        while True:
            answer = await projector.ExplainRow(request)
            if as_json:
                for step in answer.steps:
                    print_json(step)
            else:
                _print(answer, first=not request.page_token, key=", ".join(key))
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    return call(settings, work)


def _print(answer: pb.ExplainRowResponse, *, first: bool, key: str) -> None:
    console = Console()
    for step in answer.steps:
        console.print(_heading(step), _changes(step), sep="")
    if first and not answer.steps:
        console.print(Text(f"no event made a row {key} in table {answer.table}"))
    if first and not answer.row:
        console.print(Text(f"there is no row {key} in table {answer.table} now", "yellow"))


def _heading(step: pb.ExplainedStep) -> Text:
    told = f" {step.recorded_at.ToJsonString()[:19]}"
    told += f" by {step.actor}" if step.actor else ""
    return Text.assemble(f"{step.position:,} ", (step.event_type.rpartition(".")[2], "bold"), told)


def _changes(step: pb.ExplainedStep) -> Table:
    # Not one table of all: three columns are read in a narrow terminal as well.
    changes = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    changes.add_column(no_wrap=True)
    for _ in ("before", "arrow", "after"):
        changes.add_column(overflow="fold")
    for change in step.changes:
        changes.add_row(*(Text(cell) for cell in (f"  {change.field}", change.before, "→", change.after)))
    return changes
