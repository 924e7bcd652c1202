"""How a command gets to work."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import typer

from twofold_server.errors import StartupError


def run(start: str, flags: dict[str, Any], **arguments: Any) -> None:
    """Call `module:function` with the settings; what keeps it from starting is one line, and exit code 2.

    ``arguments`` are what the command was told beside its settings.
    """
    # gRPC's core would tell of a port in use as well, in its own words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from twofold_server.settings import load_settings

        module, function = start.split(":")
        code: int | None = getattr(import_module(module), function)(load_settings(**flags), **arguments)
    except StartupError as error:
        typer.echo(f"twofold: {error}", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(code or 0)
