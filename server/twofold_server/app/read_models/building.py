"""`twofold projections rebuild`, `switch`, `rollback` and `drop`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from twofold.v1 import projection_service_pb2 as pb
from twofold_server.app.read_models.calling import call
from twofold_server.app.read_models.showing import in_words, print_json, print_projection
from twofold_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from twofold.v1.projection_service_pb2_grpc import ProjectionServiceAsyncStub

_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TaskProgressColumn(),
    TextColumn("{task.fields[position]:,} of {task.fields[head]:,}"),
    TextColumn("{task.fields[rate]:,.0f}/s"),
    TextColumn("{task.fields[left]}"),
    TimeElapsedColumn(),
)


def rebuild(settings: Settings, *, name: str, workers: int, switch: bool, pause: float, as_json: bool) -> int:
    """Build a projection anew and follow it to its end."""
    wanted = pb.RebuildProjectionRequest(projection=name, workers=workers, switch=switch)
    if pause:
        wanted.pause.FromMicroseconds(int(pause * 1e6))

    async def work(projector: ProjectionServiceAsyncStub) -> None:
        answers = projector.RebuildProjection(wanted)
        if as_json:
            async for answer in answers:
                print_json(answer)
        else:
            await _show(name, answers)

    return call(settings, work)


def switch_to(settings: Settings, *, name: str, build: int, as_json: bool) -> int:
    """Let queries read another build."""

    async def work(projector: ProjectionServiceAsyncStub) -> None:
        answer = await projector.SwitchProjection(pb.SwitchProjectionRequest(projection=name, build=build))
        _print(answer.projection, f"queries read build {answer.projection.live_build} of {name}", as_json)

    return call(settings, work)


def rollback(settings: Settings, *, name: str, at_once: bool, as_json: bool) -> int:
    """Let queries read the build again that they read before."""

    async def work(projector: ProjectionServiceAsyncStub) -> None:
        answer = await projector.RollbackProjection(
            pb.RollbackProjectionRequest(projection=name, at_once=at_once)
        )
        _print(
            answer.projection, f"queries read build {answer.projection.live_build} of {name} again", as_json
        )

    return call(settings, work)


def drop(settings: Settings, *, name: str, build: int, as_json: bool) -> int:
    """Delete builds that queries do not read."""

    async def work(projector: ProjectionServiceAsyncStub) -> None:
        answer = await projector.DropBuild(pb.DropBuildRequest(projection=name, build=build))
        dropped = ", ".join(map(str, answer.builds))
        told = f"dropped of {name}: build {dropped}" if dropped else f"{name} has no build to drop"
        _print(answer.projection, told, as_json, answer)

    return call(settings, work)


async def _show(name: str, answers: AsyncIterable[pb.RebuildProjectionResponse]) -> None:
    console = Console()
    last = pb.RebuildProjectionResponse()
    with Progress(*_COLUMNS, console=console) as bar:
        task = bar.add_task(f"{name}: begins", total=None, position=0, head=0, rate=0.0, left="")
        async for last in answers:
            bar.update(
                task,
                description=f"{name}: {_doing(last)}",
                total=max(last.head_position, 1),
                completed=last.position,
                position=last.position,
                head=last.head_position,
                rate=last.positions_per_second,
                left=f"{_seconds(last.time_left):,.0f} s left" if last.HasField("time_left") else "",
            )
    if last.phase == pb.REBUILD_PHASE_SWITCHED:
        console.print(f"queries read build {last.build} of {name} now; the one before is kept")
    else:
        console.print(
            f"build {last.build} of {name} is level; `twofold projections switch {name}` lets queries read it"
        )


def _doing(progress: pb.RebuildProjectionResponse) -> str:
    if progress.trouble:
        return f"held up: {progress.trouble}"
    words = in_words(pb.RebuildPhase.Name(progress.phase), "REBUILD_PHASE_")
    crew = f", {progress.workers} worker{'s' if progress.workers > 1 else ''}" if progress.workers else ""
    return f"build {progress.build} {words}{crew}"


def _seconds(duration: Duration) -> float:
    return float(duration.ToMicroseconds()) / 1e6


def _print(projection: pb.Projection, told: str, as_json: bool, answer: Message | None = None) -> None:
    if as_json:
        print_json(answer or projection)
        return
    Console().print(told, highlight=False)
    print_projection(projection)
