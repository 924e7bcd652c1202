"""`twofold relay`: what an operator does to the stream in NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import nats.errors
import typer

from twofold_server import logs
from twofold_server.app.parts import relay_config
from twofold_server.database import open_database
from twofold_server.database.translation import in_one_line
from twofold_server.errors import StartupError, Unavailable
from twofold_server.event_store.sql import SqlEventStore
from twofold_server.event_store.store import EventStore
from twofold_server.publishing.reseeding import Held, held, reseed
from twofold_server.publishing.stream import STREAM
from twofold_server.settings import Settings

EVERY_SO_MANY = 50_000
"""Positions between two lines about the progress."""
REFUSED = 1


def reseed_at_once(settings: Settings) -> int:
    """Make the stream anew from ``relay_from_position`` on; raises StartupError."""
    return _run(settings, ask=False)


def reseed_if_confirmed(settings: Settings) -> int:
    """Say what there is, ask, and then do the same; 1 where the answer is no."""
    return _run(settings, ask=True)


def _run(settings: Settings, *, ask: bool) -> int:
    logs.configure(settings.log_format, "warning")
    try:
        return asyncio.run(_reseed(settings, ask=ask))
    except Unavailable as error:
        raise StartupError(
            f"the event log cannot be read: {in_one_line(error.__cause__ or error)}"
        ) from error
    except (nats.errors.Error, OSError) as error:
        where, why = ", ".join(settings.nats_servers), str(error) or type(error).__name__
        raise StartupError(f"NATS cannot be reached at {where}: {why}") from error


async def _reseed(settings: Settings, *, ask: bool) -> int:
    async with _log(settings) as store:
        config = relay_config(settings)
        head = await store.head()
        if config.from_position > head + 1:
            raise StartupError(f"the log ends at position {head}, so the stream begins at {head + 1} at most")
        typer.echo(_situation(await held(config), head))
        if ask and not typer.confirm(
            f"Delete it and fill it again from position {config.from_position:,} on?"
        ):
            return REFUSED
        reached = await reseed(store, config, told=_every_so_many(config.from_position))
        typer.echo(f"The stream {STREAM} holds positions {config.from_position:,} to {reached:,}.")
        return 0


@asynccontextmanager
async def _log(settings: Settings) -> AsyncIterator[EventStore]:
    async with open_database(settings.event_database_url, read_only=True, readers=1) as database:
        yield await SqlEventStore.open_as_it_is(database)


def _situation(found: Held | None, head: int) -> str:
    log = f"The log ends at position {head:,}."
    if found is None:
        return f"{log} There is no stream {STREAM}."
    return f"{log} The stream {STREAM} holds {found.messages:,} messages, {found.first:,} to {found.last:,}."


def _every_so_many(position: int) -> Callable[[int], None]:
    """Say how far it is, now and then."""
    said = position

    def tell(now: int) -> None:
        nonlocal said
        if now - said >= EVERY_SO_MANY:
            said = now
            typer.echo(f"at position {now:,}")

    return tell
