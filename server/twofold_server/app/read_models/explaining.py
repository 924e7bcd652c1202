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
    if answer.steps:
        console.print(_table(answer.steps))
    elif first:
        console.print(Text(f"no event made a row {key} in table {answer.table}"))
    if first and not answer.row:
        console.print(Text(f"there is no row {key} in table {answer.table} now", "yellow"))


def _table(steps: Sequence[pb.ExplainedStep]) -> Table:
    table = Table("position", "event", "when", "who")
    for heading in ("field", "before", "after"):
        table.add_column(heading, overflow="fold")
    for step in steps:
        event = step.event_type.rpartition(".")[2]
        told = [f"{step.position:,}", event, step.recorded_at.ToJsonString()[:19], step.actor]
        for change in step.changes:
            cells = (change.field, change.before, change.after)
            table.add_row(*(Text(cell) for cell in (*told, *cells)))
            told = [""] * len(told)
        table.add_section()
    return table
