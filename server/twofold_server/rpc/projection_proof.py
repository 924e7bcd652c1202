"""The part of ProjectionService that proves and explains read models."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager

from google.protobuf.timestamp_pb2 import Timestamp

from twofold.v1 import projection_service_pb2 as pb
from twofold_server.errors import InvalidRequest, Unavailable
from twofold_server.projections.checkpoints import TakenOver
from twofold_server.projections.proof.differences import Difference
from twofold_server.projections.proof.explain import Step, Story
from twofold_server.projections.proof.findings import Progress, Summary
from twofold_server.projections.proof.proofs import Proofs, Wanted
from twofold_server.projections.sources import LogAway
from twofold_server.rpc.projection_overview import duration

PAUSE = 0.2
"""Seconds between two messages about progress."""
PAGE_SIZE = 100


class ProjectionProof:
    """VerifyProjection and ExplainRow."""

    def __init__(self, proofs: Proofs) -> None:
        self._proofs = proofs

    async def verify_projection(
        self, request: pb.VerifyProjectionRequest
    ) -> AsyncIterator[pb.VerifyProjectionResponse]:
        """Progress, differences, and the summary at the end; raises NotFound, InvalidRequest, Unavailable."""
        wanted = Wanted(
            projection=request.projection,
            sample=request.sample,
            streams=request.keys,
            mend=request.repair,
        )
        speed = _Speed()
        with _told():
            async with aclosing(self._proofs.verify(wanted)) as findings:
                async for finding in findings:
                    match finding:
                        case Progress():
                            if (progress := speed.progress(finding)) is not None:
                                yield pb.VerifyProjectionResponse(progress=progress)
                        case Difference():
                            yield pb.VerifyProjectionResponse(difference=_difference(finding))
                        case Summary():
                            yield pb.VerifyProjectionResponse(summary=_summary(finding))

    async def explain_row(self, request: pb.ExplainRowRequest) -> pb.ExplainRowResponse:
        """A page of the events that made a row; raises NotFound, InvalidRequest, Unavailable."""
        after = _after(request.page_token)
        with _told():
            story = await self._proofs.explain(request.projection, request.table, request.key)
        return _page(story, after, request.page_size or PAGE_SIZE)


class _Speed:
    """Turns progress into messages, a few a second, with how fast it goes and how long it will take."""

    def __init__(self) -> None:
        self._began = self._told_at = time.monotonic()
        self._folding = True

    def progress(self, progress: Progress) -> pb.VerifyProgress | None:
        """The message; None where the last one was a moment ago."""
        now = time.monotonic()
        if self._folding and progress.position == progress.head:
            self._began, self._folding = now, False
        elif now - self._told_at < PAUSE:
            return None
        self._told_at = now
        done, total = (
            (progress.position, progress.head) if self._folding else (progress.checked, progress.total)
        )
        rate = done / (now - self._began) if now > self._began else 0.0
        return pb.VerifyProgress(
            keys_checked=progress.checked,
            keys_total=progress.total,
            keys_per_second=0.0 if self._folding else rate,
            time_left=duration((total - done) / rate) if rate else None,
            position=progress.position,
            head_position=progress.head,
        )


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except LogAway as error:
        raise Unavailable(str(error), reason="LOG_UNAVAILABLE") from error
    except TakenOver as error:
        raise Unavailable(str(error), reason="TAKEN_OVER") from error


def _difference(found: Difference) -> pb.RowDifference:
    return pb.RowDifference(
        kind=pb.DifferenceKind.Value(f"DIFFERENCE_KIND_{found.kind.name}"),
        table=found.table,
        key=found.key,
        position=found.position,
        fields=[
            pb.FieldDifference(field=each.field, expected=each.expected, actual=each.stored)
            for each in found.fields
        ],
        repaired=found.repaired,
        rule=found.rule,
    )


def _summary(summary: Summary) -> pb.VerifySummary:
    return pb.VerifySummary(
        keys_checked=summary.rows,
        rows_checked=summary.rows,
        differences=summary.differences,
        repaired=summary.repaired,
        rules_checked=summary.rules,
        position=summary.position,
        passed_over=summary.passed_over,
        rules_held=summary.rules_held,
    )


def _page(story: Story, after: int, size: int) -> pb.ExplainRowResponse:
    left = [step for step in story.steps if step.event.position > after]
    return pb.ExplainRowResponse(
        table=story.shape.name,
        row=[pb.FieldValue(field=field, value=value) for field, value in story.row],
        steps=[_step(step) for step in left[:size]],
        next_page_token=str(left[size - 1].event.position) if len(left) > size else "",
    )


def _step(step: Step) -> pb.ExplainedStep:
    event, recorded_at = step.event, Timestamp()
    recorded_at.FromMicroseconds(event.recorded_at)
    return pb.ExplainedStep(
        position=event.position,
        stream_name=event.stream_name,
        stream_version=event.stream_version,
        event_type=event.type_name,
        recorded_at=recorded_at,
        actor=event.metadata.actor,
        changes=[
            pb.FieldChange(field=each.field, before=each.before, after=each.after) for each in step.changes
        ],
    )


def _after(page_token: str) -> int:
    if page_token and not (page_token.isascii() and page_token.isdecimal()):
        raise InvalidRequest(
            "page_token is not one; use next_page_token as it was sent",
            violations=[("page_token", "is not a page token")],
            reason="INVALID_PAGE_TOKEN",
        )
    return int(page_token or 0)
