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


@projections.command("dead-letters")
def dead_letters(
    name: Annotated[str, typer.Argument(metavar="[PROJECTION]", help="Only those of one projection.")] = "",
    key: Annotated[str, typer.Option("--key", help="Only those of one stream.", metavar="STREAM")] = "",
    projector_address: ProjectorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Show the events that projections could not apply, and those that wait behind them."""
    flags = {"projector_address": projector_address}
    run(f"{_ROOM}.dead_letters:show", flags, name=name, key=key, as_json=as_json)


@projections.command()
def retry(
    name: Name,
    key: Annotated[str, typer.Argument(metavar="[STREAM]", help="The parked stream; all without it.")] = "",
    projector_address: ProjectorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Apply parked events again, in order. Exit code 1: some are still parked."""
    flags = {"projector_address": projector_address}
    run(f"{_ROOM}.dead_letters:retry", flags, name=name, key=key, as_json=as_json)


@projections.command()
def skip(
    name: Name,
    key: Annotated[str, typer.Argument(metavar="STREAM", help="The parked stream.")],
    position: Annotated[int, typer.Argument(metavar="POSITION", help="The event to leave out.", min=1)],
    reason: Annotated[str, typer.Option(help="Why; it is kept for good.", metavar="TEXT")],
    by: Annotated[str, typer.Option(help="Who decided it. [the user of this shell]", metavar="NAME")] = "",
    projector_address: ProjectorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Leave out the event that a stream is parked for, and apply what waits behind it.

    Exit code 1: some are still parked.
    """
    flags = {"projector_address": projector_address}
    what = {"name": name, "key": key, "position": position, "reason": reason, "by": by}
    run(f"{_ROOM}.dead_letters:skip", flags, **what, as_json=as_json)
