"""`twofold contracts`: today's contract against the events of a log, for people and for scripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from sqlalchemy import make_url

from twofold_server.contexts import discover
from twofold_server.database import open_database
from twofold_server.errors import StartupError, Unavailable
from twofold_server.event_store import contract_check
from twofold_server.event_store.contract_check import Break, Findings, check_contracts, every_second
from twofold_server.event_store.sql import SqlEventStore
from twofold_server.event_store.sql.contracts import ContractHistory
from twofold_server.messages.events import EventCodec
from twofold_server.settings import Settings


def check(settings: Settings) -> int:
    """Print what today's contract means for the stored events; 1 where it breaks some, else 0."""
    return _run(_check(settings, _tell))


def check_as_json(settings: Settings) -> int:
    """The same as one JSON object."""
    return _run(_check(settings, _tell_as_json))


def accept(settings: Settings) -> int:
    """Print the same, and take today's contract as the log's, whatever it breaks."""
    return _run(_accept(settings))


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except Unavailable as error:
        raise StartupError(f"{error.message} ({' '.join(str(error.__cause__).split())})") from error


async def _check(settings: Settings, tell: Callable[[Findings], None]) -> int:
    async with _history(settings, read_only=True) as history:
        findings = await _find(settings, history)
    tell(findings)
    return 1 if findings.breaks else 0


async def _accept(settings: Settings) -> int:
    async with _history(settings, read_only=False) as history:
        findings = await _find(settings, history)
        await contract_check.accept(findings, history)
    _tell(findings)
    typer.echo("accepted")
    return 0


@asynccontextmanager
async def _history(settings: Settings, *, read_only: bool) -> AsyncIterator[ContractHistory]:
    _check_exists(settings)
    async with open_database(settings.event_database_url, read_only=read_only, readers=1) as database:
        if not read_only:
            await SqlEventStore.open(database)
        history = ContractHistory(database)
        if not await history.is_kept():
            raise StartupError(
                "this event log keeps no contracts yet; start a command server of this version"
            )
        yield history


def _check_exists(settings: Settings) -> None:
    file = make_url(settings.event_database_url).database or ""
    if settings.sqlite_log and not Path(file).exists():
        raise StartupError(f"there is no event log {file}; name it with --data-dir or --event-database-url")


async def _find(settings: Settings, history: ContractHistory) -> Findings:
    contracts = [contract for _, contract in discover(settings.contexts)]
    EventCodec(contracts)  # raises StartupError for wrong upcasters
    return await check_contracts(contracts, history, progress=every_second(_tell_progress))


def _tell_progress(position: int, head: int) -> None:
    typer.echo(f"looked through {position:,} of {head:,} events", err=True)


def _tell(findings: Findings) -> None:
    for package, breaks in _by_package(findings).items():
        typer.echo(f"{package}: {_in_words(package, findings)}")
        for each in breaks:
            typer.echo(f"  {each}")


def _tell_as_json(findings: Findings) -> None:
    contracts = {
        package: {
            "state": _state(package, findings),
            "accepted_at": _accepted_at(package, findings),
            "breaks": [_as_json(each) for each in breaks],
        }
        for package, breaks in _by_package(findings).items()
    }
    typer.echo(json.dumps({"compatible": not findings.breaks, "contracts": contracts}, indent=2))


def _as_json(found: Break) -> dict[str, object]:
    return {
        "kind": found.change.kind,
        "event": found.change.event,
        "field": found.change.field,
        "stored_events": found.count,
        "text": str(found),
    }


def _by_package(findings: Findings) -> dict[str, list[Break]]:
    packages = sorted(findings.today.keys() | findings.accepted.keys())
    return {name: [each for each in findings.breaks if each.package == name] for name in packages}


def _state(package: str, findings: Findings) -> str:
    if any(each.package == package for each in findings.breaks):
        return "BROKEN"
    if package not in findings.today:
        return "NOT_LOADED"
    if package not in findings.accepted:
        return "NEW"
    return "CHANGED" if package in {each.package for each in findings.fresh} else "UNCHANGED"


def _in_words(package: str, findings: Findings) -> str:
    state, since = _state(package, findings), _accepted_at(package, findings)
    count = sum(each.package == package for each in findings.breaks)
    return {
        "BROKEN": f"{count} break{'s' if count > 1 else ''} against the contract of {since}",
        "NOT_LOADED": f"not loaded; its events are left alone, its contract is of {since}",
        "NEW": "new",
        "CHANGED": f"changed since {since}; every stored event can be read",
        "UNCHANGED": f"unchanged since {since}",
    }[state]


def _accepted_at(package: str, findings: Findings) -> str | None:
    if package not in findings.accepted:
        return None
    at = datetime.fromtimestamp(findings.accepted[package].accepted_at / 1_000_000, UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
