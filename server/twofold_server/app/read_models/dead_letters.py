"""`twofold projections dead-letters`, `retry` and `skip`."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twofold.v1 import projection_service_pb2 as pb
from twofold_server.app.read_models.calling import REFUSED, call
from twofold_server.app.read_models.showing import print_json
from twofold_server.settings import Settings

if TYPE_CHECKING:
    from twofold.v1.projection_service_pb2_grpc import ProjectionServiceAsyncStub

Answer = pb.RetryDeadLetterResponse | pb.SkipDeadLetterResponse
Ask = Callable[["ProjectionServiceAsyncStub"], Awaitable[Answer]]
PAGE = 500


def show(settings: Settings, *, name: str, key: str, as_json: bool) -> int:
    """Show every dead letter."""

    async def work(projector: ProjectionServiceAsyncStub) -> None:
        found = [letter async for letter in _letters(projector, name, key)]
        if as_json:
            for letter in found:
                print_json(letter)
        elif found:
            Console().print(_table(found))
        else:
            typer.echo("no dead letters")

    return call(settings, work)


def retry(settings: Settings, *, name: str, key: str, as_json: bool) -> int:
    """Apply parked events again."""

    async def work(projector: ProjectionServiceAsyncStub) -> Answer:
        return await projector.RetryDeadLetter(pb.RetryDeadLetterRequest(projection=name, key=key))

    return _told(settings, work, as_json=as_json)


def skip(
    settings: Settings, *, name: str, key: str, position: int, reason: str, by: str, as_json: bool
) -> int:
    """Leave an event out."""
    request = pb.SkipDeadLetterRequest(
        projection=name, key=key, position=position, reason=reason, skipped_by=by or getpass.getuser()
    )

    async def work(projector: ProjectionServiceAsyncStub) -> Answer:
        return await projector.SkipDeadLetter(request)

    return _told(settings, work, as_json=as_json)


def _told(settings: Settings, ask: Ask, *, as_json: bool) -> int:
    """Tell what came of it; the exit code says whether something is still parked."""
    remaining = 0

    async def work(projector: ProjectionServiceAsyncStub) -> None:
        nonlocal remaining
        answer = await ask(projector)
        remaining = answer.remaining
        if as_json:
            print_json(answer)
        else:
            still = f", {remaining:,} still parked: {answer.error}" if remaining else ""
            typer.echo(f"{answer.applied:,} events applied{still}")

    return call(settings, work) or (REFUSED if remaining else 0)


async def _letters(
    projector: ProjectionServiceAsyncStub, name: str, key: str
) -> AsyncIterator[pb.DeadLetter]:
    request = pb.ListDeadLettersRequest(projection=name, key=key, page_size=PAGE)
    while True:
        answer = await projector.ListDeadLetters(request)
        for letter in answer.dead_letters:
            yield letter
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def _table(found: list[pb.DeadLetter]) -> Table:
    table = Table("projection", "stream", "position", "event", "attempts", "parked", "error")
    for letter in found:
        table.add_row(
            letter.projection,
            Text(letter.key),
            f"{letter.position:,}",
            letter.event_type.rpartition(".")[2],
            "waits" if letter.waiting else f"{letter.attempts:,}",
            letter.park_time.ToJsonString()[:19],
            Text(letter.error),
        )
    return table
