"""Options that several commands have; each is also a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _option(text: str, metavar: str) -> Any:
    return typer.Option(help=text, metavar=metavar, show_default=False)


DataDir = Annotated[Path | None, _option("Folder for everything that is kept. [./data]", "FOLDER")]
EventDatabaseUrl = Annotated[str | None, _option("The event log. [SQLite in the data folder]", "URL")]
ReadDatabaseUrl = Annotated[str | None, _option("The read models. [SQLite in the data folder]", "URL")]
NatsUrl = Annotated[str | None, _option("NATS to connect to. [nats://127.0.0.1:<nats-port>]", "URL")]
NatsPort = Annotated[int | None, _option("Port of the embedded NATS. [4222]", "PORT")]
CommandAddress = Annotated[str | None, _option("Where commands are taken. [127.0.0.1:50051]", "HOST:PORT")]
QueryAddress = Annotated[str | None, _option("Where queries are answered. [127.0.0.1:50052]", "HOST:PORT")]
ProjectorAddress = Annotated[str | None, _option("The projector. [127.0.0.1:50053]", "HOST:PORT")]
Contexts = Annotated[str | None, _option("Python packages of bounded contexts. [shop_contexts]", "NAME,…")]
LogFormat = Annotated[str | None, _option("How log lines look. [console]", "console|json")]
LogLevel = Annotated[str | None, _option("The least level logged. [info]", "debug|info|warning|error")]
