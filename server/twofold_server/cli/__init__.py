"""The command line: one command a role, and `up` for all of them.

Whatever takes long to import is imported by the command that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from twofold_server.cli.options import (
    CommandAddress,
    Contexts,
    DataDir,
    EventDatabaseUrl,
    LogFormat,
    LogLevel,
    NatsPort,
    NatsUrl,
    ProjectorAddress,
    QueryAddress,
    ReadDatabaseUrl,
)
from twofold_server.cli.projections import projections
from twofold_server.cli.starting import run

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Twofold: a command server that remembers, a query server that answers, and NATS JetStream between "
    "them. Every option is also an environment variable: --data-dir is TWOFOLD_DATA_DIR. The README lists "
    "the settings that have no option.",
)


@app.command()
def up(
    data_dir: DataDir = None,
    event_database_url: EventDatabaseUrl = None,
    read_database_url: ReadDatabaseUrl = None,
    nats_url: NatsUrl = None,
    nats_port: NatsPort = None,
    command_address: CommandAddress = None,
    query_address: QueryAddress = None,
    projector_address: ProjectorAddress = None,
    contexts: Contexts = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Start everything on this machine.

    That is NATS (unless --nats-url names one), command server, projector and query server. Prints one line
    for each endpoint and then `ready`. Ctrl-C or SIGTERM stops all of them in order. A role that dies is
    started again. Port 0 takes any free port.
    """
    run("twofold_server.supervision.up:run_up", dict(locals()))


@app.command()
def command_server(
    data_dir: DataDir = None,
    event_database_url: EventDatabaseUrl = None,
    nats_url: NatsUrl = None,
    nats_port: NatsPort = None,
    command_address: CommandAddress = None,
    contexts: Contexts = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Take commands and write the event log.

    Serves the CommandService of each context and the EventService, and publishes every event to NATS.
    Commands go on while NATS is away. With PostgreSQL any number of command servers may share one log.
    """
    run("twofold_server.app:run_command_server", dict(locals()))


@app.command()
def query_server(
    data_dir: DataDir = None,
    read_database_url: ReadDatabaseUrl = None,
    nats_url: NatsUrl = None,
    nats_port: NatsPort = None,
    command_address: CommandAddress = None,
    query_address: QueryAddress = None,
    contexts: Contexts = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Answer queries out of the read models.

    It opens them read-only. Any number of query servers may read the same read models.
    """
    run("twofold_server.app:run_query_server", dict(locals()))


@app.command()
def projector(
    data_dir: DataDir = None,
    read_database_url: ReadDatabaseUrl = None,
    nats_url: NatsUrl = None,
    nats_port: NatsPort = None,
    command_address: CommandAddress = None,
    projector_address: ProjectorAddress = None,
    contexts: Contexts = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Fold events into the read models.

    New events come from NATS, history from the command server. It serves the ProjectionService, which
    `twofold projections` calls, and health checks.
    """
    run("twofold_server.app:run_projector", dict(locals()))


contracts = typer.Typer(no_args_is_help=True, help="Today's contract against the events of a log.")
app.add_typer(contracts, name="contracts")


@contracts.command("check")
def contracts_check(
    data_dir: DataDir = None,
    event_database_url: EventDatabaseUrl = None,
    contexts: Contexts = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell whether every stored event can be read with today's contract.

    Compares the events of the loaded contexts with those that the log was written under, and names each
    change that stored events suffer from, with how many they are. Exit code 0: none, 1: some. Changes
    nothing, also beside a running server; a command server makes the same check when it starts.
    """
    flags = {"data_dir": data_dir, "event_database_url": event_database_url, "contexts": contexts}
    run(f"twofold_server.app.contracts:{'check_as_json' if as_json else 'check'}", flags)


@contracts.command("accept")
def contracts_accept(
    data_dir: DataDir = None,
    event_database_url: EventDatabaseUrl = None,
    contexts: Contexts = None,
) -> None:
    """Take today's contract as the log's, whatever it breaks.

    For the way back to an older version, and for what nobody will ever read again: what stored events
    carry beyond this contract is passed over from now on. Prints what `check` prints.
    """
    run("twofold_server.app.contracts:accept", dict(locals()))


app.add_typer(projections, name="projections")

relay = typer.Typer(no_args_is_help=True, help="The stream in NATS, as the relay fills it.")
app.add_typer(relay, name="relay")


@relay.command("reseed")
def relay_reseed(
    from_position: Annotated[
        int,
        typer.Option("--from", help="The first log position that the stream is to hold.", metavar="N", min=1),
    ],
    data_dir: DataDir = None,
    event_database_url: EventDatabaseUrl = None,
    nats_url: NatsUrl = None,
    nats_port: NatsPort = None,
    log_format: LogFormat = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete the stream of events in NATS, and fill it again with the log from position N on.

    Safe beside running command servers: they take commands all the while, and whoever is faster, one of
    them or this command, fills the stream; each position is stored once, in order. Without command servers
    this command fills it alone. Returns when the stream is level with the log.

    The consumers of the stream are deleted with it. Projectors make theirs again, and read from the command
    server what the stream does not hold; other consumers have to be made again by their owners.
    """
    flags = {name: value for name, value in locals().items() if name not in ("from_position", "yes")}
    how = "reseed_at_once" if yes else "reseed_if_confirmed"
    run(f"twofold_server.app.relay:{how}", flags | {"relay_from_position": from_position})


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(f"twofold {installed('twofold')}")


def main() -> None:
    """The entry point of the command `twofold`."""
    app(prog_name="twofold")


if __name__ == "__main__":
    main()
