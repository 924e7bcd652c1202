"""`twofold projections verify`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from twofold.v1 import projection_service_pb2 as pb
from twofold_server.app.read_models.calling import REFUSED, call
from twofold_server.app.read_models.showing import print_json
from twofold_server.settings import Settings

if TYPE_CHECKING:
    from twofold.v1.projection_service_pb2_grpc import ProjectionServiceAsyncStub

SHOWN = 500
"""Differences that are shown as a table; --json shows all."""


def verify(
    settings: Settings, *, name: str, keys: Sequence[str], sample: int, repair: bool, as_json: bool
) -> int:
    """Verify one projection, or every one where no name is given; 1 where a difference is left."""
    left: set[str] = set()

    async def work(projector: ProjectionServiceAsyncStub) -> None:
        for each in [name] if name else await _names(projector):
            request = pb.VerifyProjectionRequest(projection=each, sample=sample, keys=keys, repair=repair)
            await _verify(projector, request, left, as_json=as_json)

    return call(settings, work) or (REFUSED if left else 0)


async def _names(projector: ProjectionServiceAsyncStub) -> list[str]:
    answer = await projector.ListProjections(pb.ListProjectionsRequest())
    return [each.name for each in answer.projections]


async def _verify(
    projector: ProjectionServiceAsyncStub,
    request: pb.VerifyProjectionRequest,
    left: set[str],
    *,
    as_json: bool,
) -> None:
    """``left`` names what is wrong still: a rule may hold once another read model is mended."""
    summary, found = pb.VerifySummary(), list[pb.RowDifference]()
    with _Bar(request.projection, quiet=as_json) as bar:
        async for answer in projector.VerifyProjection(request):
            match answer.WhichOneof("result"):
                case "progress":
                    bar.show(answer.progress)
                case "difference":
                    if not answer.difference.repaired:
                        left.add(answer.difference.rule or f"rows of {request.projection}")
                    found += [answer.difference] if len(found) < SHOWN else []
                case "summary":
                    summary = answer.summary
                    left.difference_update(summary.rules_held)
            if as_json:
                print_json(answer)
    if not as_json:
        _print(request.projection, found, summary)


class _Bar:
    """The progress of one proof: the log is folded, then rows are compared."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        self._name = name
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, progress: pb.VerifyProgress) -> None:
        """Draw it."""
        if progress.position < progress.head_position:
            self._show("events folded", progress.position, progress.head_position)
        else:
            self._show("rows compared", progress.keys_checked, progress.keys_total)

    def _show(self, what: str, done: int, total: int) -> None:
        total = max(done, total)
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(f"{self._name}: {what}", total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


def _print(name: str, found: Sequence[pb.RowDifference], summary: pb.VerifySummary) -> None:
    console = Console()
    if found:
        console.print(_table(found))
    if summary.differences > len(found):
        console.print(f"{summary.differences - len(found):,} more; --json shows all", highlight=False)
    style = "green" if summary.differences == summary.repaired else "bold red"
    console.print(Text(f"{name}: {_in_words(summary)}", style))
    for each in summary.passed_over:
        console.print(Text(f"{name}: not checked: {each}", "yellow"))


def _in_words(summary: pb.VerifySummary) -> str:
    checked = f"{summary.rows_checked:,} rows"
    if summary.rules_checked:
        checked += f" and {summary.rules_checked} rule{'s' if summary.rules_checked > 1 else ''}"
    checked += f" checked at position {summary.position:,}"
    if not summary.differences:
        return f"{checked}; no difference from the log"
    told = f"{checked}; {summary.differences:,} difference{'s' if summary.differences > 1 else ''}"
    return f"{told}, {summary.repaired:,} repaired" if summary.repaired else told


def _table(found: Sequence[pb.RowDifference]) -> Table:
    table = Table()
    for heading in ("table", "key", "field", "stored", "expected"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "key")
    for each in found:
        where = Text(each.table or f"rule: {each.rule}"), Text(", ".join(each.key))
        if each.kind in (pb.DIFFERENCE_KIND_MISSING, pb.DIFFERENCE_KIND_SURPLUS):
            missing = each.kind == pb.DIFFERENCE_KIND_MISSING
            table.add_row(*where, "", "no row" if missing else "a row", "a row" if missing else "no row")
        for field in each.fields:
            table.add_row(*where, Text(field.field), Text(field.actual), Text(field.expected))
            where = Text(), Text()
    return table
