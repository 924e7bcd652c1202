"""`twofold projections list` and `status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from twofold.v1 import projection_service_pb2 as pb
from twofold_server.app.read_models.calling import call
from twofold_server.settings import Settings

if TYPE_CHECKING:
    from twofold.v1.projection_service_pb2_grpc import ProjectionServiceAsyncStub

_STYLES = {"level": "green", "catching up": "yellow", "held up": "bold red", "live": "green"}


def show_all(settings: Settings, *, as_json: bool) -> int:
    """Show every projection."""

    async def work(projector: ProjectionServiceAsyncStub) -> None:
        found = (await projector.ListProjections(pb.ListProjectionsRequest())).projections
        if as_json:
            for each in found:
                print_json(each)
        else:
            print_projections(list(found))

    return call(settings, work)


def show_one(settings: Settings, *, name: str, as_json: bool) -> int:
    """Show one projection with its builds."""

    async def work(projector: ProjectionServiceAsyncStub) -> None:
        answer = await projector.GetProjection(pb.GetProjectionRequest(projection=name))
        if as_json:
            print_json(answer.projection)
        else:
            print_projection(answer.projection)

    return call(settings, work)


def print_json(message: Message) -> None:
    """A message as one line of JSON, with every field."""
    text = MessageToJson(
        message,
        indent=None,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    typer.echo(text)


def print_projection(projection: pb.Projection) -> None:
    """One projection and its builds as tables."""
    print_projections([projection])
    Console().print(f"version {projection.version}, brought up to date: {projection.sync}", highlight=False)
    table = Table("build", "state", "version", "begun", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("position", justify="right")
    table.add_column("trouble")
    for build in projection.builds:
        table.add_row(
            str(build.build),
            in_words(pb.BuildState.Name(build.state), "BUILD_STATE_"),
            str(build.version),
            build.create_time.ToJsonString()[:19] if build.HasField("create_time") else "",
            f"{build.position:,}",
            build.trouble,
        )
    Console().print(table)


def print_projections(projections: list[pb.Projection]) -> None:
    """Projections as a table, and what troubles them below it."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("projection", "state", "build"):
        table.add_column(name, no_wrap=True)
    for name in ("position", "behind", "lag", "dead letters"):
        table.add_column(name, justify="right", no_wrap=name != "dead letters")
    for each in projections:
        table.add_row(*_cells(each))
    console = Console()
    console.print(table)
    for each in projections:
        if each.trouble:
            console.print(f"{each.name}: {each.trouble}", style="red", markup=False, highlight=False)


def _cells(each: pb.Projection) -> list[str]:
    return [
        each.name,
        in_words(pb.ProjectionState.Name(each.state), "PROJECTION_STATE_"),
        str(each.live_build or "-"),
        f"{each.position:,}",
        f"{each.lag_positions:,}",
        f"{each.lag.ToMicroseconds() / 1e6:.1f} s",
        f"{each.dead_letter_count:,}",
    ]


def in_words(name: str, prefix: str) -> str:
    """An enum's value as people read it, coloured where it says how things are."""
    words = name.removeprefix(prefix).replace("_", " ").lower()
    return f"[{_STYLES[words]}]{words}[/]" if words in _STYLES else words
