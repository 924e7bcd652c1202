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


@projections.command()
def rebuild(
    name: Name,
    workers: Annotated[
        int, typer.Option(help="Processes that fold the log. [one for each core]", metavar="N", min=0, max=16)
    ] = 0,
    switch: Annotated[
        bool, typer.Option("--switch/--no-switch", help="Let queries read the new build when it is level.")
    ] = True,
    pause: Annotated[
        float, typer.Option(help="Pause of each worker after each batch.", metavar="SECONDS", min=0, max=60)
    ] = 0.0,
    projector_address: ProjectorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Build a projection anew from the log, beside the one that queries read, and switch to it.

    Queries go on all the while, and see nothing of it before the switch. The old build is kept: `rollback`
    goes back to it, `drop` deletes it. The rebuild goes on when this command is ended; started again, it
    follows the one under way.
    """
    what = {"name": name, "workers": workers, "switch": switch, "pause": pause}
    run(f"{_ROOM}.building:rebuild", {"projector_address": projector_address}, **what, as_json=as_json)


@projections.command()
def switch(
    name: Name,
    build: Annotated[
        int, typer.Option(help="The build. [the one being built, else the newest kept]", metavar="N", min=0)
    ] = 0,
    projector_address: ProjectorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Bring a build level, and let queries read it; the one that they read is kept."""
    flags = {"projector_address": projector_address}
    run(f"{_ROOM}.building:switch_to", flags, name=name, build=build, as_json=as_json)


@projections.command()
def rollback(
    name: Name,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once", help="Do not bring it level before: queries see its old state for a while."
        ),
    ] = False,
    projector_address: ProjectorAddress = None,
    as_json: AsJson = False,
) -> None:
    """The way back: let queries read the build again that they read before the last switch."""
    flags = {"projector_address": projector_address}
    run(f"{_ROOM}.building:rollback", flags, name=name, at_once=at_once, as_json=as_json)


@projections.command()
def drop(
    name: Name,
    build: Annotated[
        int, typer.Option(help="The build. [all that queries do not read]", metavar="N", min=0)
    ] = 0,
    projector_address: ProjectorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Delete a build that queries do not read; one that is being built is given up."""
    flags = {"projector_address": projector_address}
    run(f"{_ROOM}.building:drop", flags, name=name, build=build, as_json=as_json)


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


@projections.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="[PROJECTION]", help="One of them; all without it.")] = "",
    sample: Annotated[
        int, typer.Option(help="Only about so many rows, chosen at random.", metavar="N", min=0)
    ] = 0,
    key: Annotated[
        list[str] | None, typer.Option("--key", help="Only the rows of this stream.", metavar="STREAM")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Write rows that differ anew.")] = False,
    projector_address: ProjectorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Fold the log again and compare every row, then check the rules across read models.

    Right also while the projector goes on, and nothing stands still meanwhile. With --repair the rows that
    differ are written anew, and no others. With --sample or --key only tables are checked whose rows come
    out of one stream each. Exit code 1: there are differences that were not repaired.
    """
    what = {"name": name, "sample": sample, "keys": key or [], "repair": repair}
    run(f"{_ROOM}.proving:verify", {"projector_address": projector_address}, **what, as_json=as_json)


@projections.command()
def explain(
    name: Name,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A table of it.")],
    key: Annotated[
        list[str], typer.Argument(metavar="KEY…", help="The primary key, one argument for each column.")
    ],
    projector_address: ProjectorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Show the events that made a row, and what each changed.

    Rows that several streams feed, such as counters, take a pass through the whole log.
    """
    what = {"name": name, "table": table, "key": key}
    run(f"{_ROOM}.explaining:explain", {"projector_address": projector_address}, **what, as_json=as_json)
