"""The command line: one command a role, and `up` for all of them.

Whatever takes long to import is imported by the command that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from twofold_server.errors import StartupError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Twofold: a command server that remembers, a query server that answers, and NATS JetStream between "
    "them. Every option is also an environment variable: --data-dir is TWOFOLD_DATA_DIR. The README lists "
    "the settings that have no option.",
)


def _option(text: str, metavar: str) -> Any:
    return typer.Option(help=text, metavar=metavar, show_default=False)


DataDir = Annotated[Path | None, _option("Folder for everything that is kept. [./data]", "FOLDER")]
EventDatabaseUrl = Annotated[str | None, _option("The event log. [SQLite in the data folder]", "URL")]
ReadDatabaseUrl = Annotated[str | None, _option("The read models. [SQLite in the data folder]", "URL")]
NatsUrl = Annotated[str | None, _option("NATS to connect to. [nats://127.0.0.1:<nats-port>]", "URL")]
NatsPort = Annotated[int | None, _option("Port of the embedded NATS. [4222]", "PORT")]
CommandAddress = Annotated[str | None, _option("Where commands are taken. [127.0.0.1:50051]", "HOST:PORT")]
QueryAddress = Annotated[str | None, _option("Where queries are answered. [127.0.0.1:50052]", "HOST:PORT")]
ProjectorAddress = Annotated[str | None, _option("Health of the projector. [127.0.0.1:50053]", "HOST:PORT")]
Contexts = Annotated[str | None, _option("Python packages of bounded contexts. [shop_contexts]", "NAME,…")]
LogFormat = Annotated[str | None, _option("How log lines look. [console]", "console|json")]
LogLevel = Annotated[str | None, _option("The least level logged. [info]", "debug|info|warning|error")]


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
    _run("twofold_server.supervision.up:run_up", dict(locals()))


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
    _run("twofold_server.app:run_command_server", dict(locals()))


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
    _run("twofold_server.app:run_query_server", dict(locals()))


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

    New events come from NATS, history from the command server. It serves nothing but health checks.
    """
    _run("twofold_server.app:run_projector", dict(locals()))


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
    _run(f"twofold_server.app.contracts:{'check_as_json' if as_json else 'check'}", flags)


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
    _run("twofold_server.app.contracts:accept", dict(locals()))


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
    _run(f"twofold_server.app.relay:{how}", flags | {"relay_from_position": from_position})


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(f"twofold {installed('twofold')}")


def _run(start: str, flags: dict[str, Any]) -> None:
    """Call `module:function` with the settings; what keeps it from starting is one line, and exit code 2."""
    # gRPC's core would tell of a port in use as well, in its own words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from twofold_server.settings import load_settings

        module, function = start.split(":")
        code: int | None = getattr(import_module(module), function)(load_settings(**flags))
    except StartupError as error:
        typer.echo(f"twofold: {error}", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(code or 0)


def main() -> None:
    """The entry point of the command `twofold`."""
    app(prog_name="twofold")


if __name__ == "__main__":
    main()
