"""`twofold projections`: what an operator sees of read models, and does to them."""

from __future__ import annotations

from typing import Annotated

import typer

from twofold_server.cli.options import ProjectorAddress
from twofold_server.cli.starting import run

projections = typer.Typer(
    no_args_is_help=True,
    help="Read models, through a running projector. Exit code 0: done, 1: the projector said no, 2: the "
    "command could not begin.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Name = Annotated[str, typer.Argument(metavar="PROJECTION", help="The name of the projection.")]
_ROOM = "twofold_server.app.read_models"


@projections.command("list")
def list_all(projector_address: ProjectorAddress = None, as_json: AsJson = False) -> None:
    """Show every projection: how far it is, and how far behind the log."""
    run(f"{_ROOM}.showing:show_all", {"projector_address": projector_address}, as_json=as_json)


@projections.command()
def status(name: Name, projector_address: ProjectorAddress = None, as_json: AsJson = False) -> None:
    """Show one projection with its builds."""
    run(f"{_ROOM}.showing:show_one", {"projector_address": projector_address}, name=name, as_json=as_json)
