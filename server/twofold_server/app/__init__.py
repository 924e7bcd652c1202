"""The composition root: what each role is made of. Nothing else creates a store, a channel or a server."""

from twofold_server.app.command_server import command_server
from twofold_server.app.projector import projector
from twofold_server.app.query_server import query_server
from twofold_server.lifecycle import run_role
from twofold_server.settings import Settings


def run_command_server(settings: Settings) -> None:
    """Run a command server until it is told to stop; raises StartupError."""
    run_role(settings, command_server)


def run_projector(settings: Settings) -> None:
    """Run a projector until it is told to stop; raises StartupError."""
    run_role(settings, projector)


def run_query_server(settings: Settings) -> None:
    """Run a query server until it is told to stop; raises StartupError."""
    run_role(settings, query_server)
