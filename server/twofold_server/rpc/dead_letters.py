"""The part of ProjectionService that deals with events that a projection could not apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from google.protobuf.timestamp_pb2 import Timestamp

from twofold.v1 import projection_service_pb2 as pb
from twofold_server.modelling.paging import page_of
from twofold_server.projections.letter_pages import Letter, page
from twofold_server.projections.redelivery import Redelivery
from twofold_server.rpc.projection_overview import not_found

PAGE_SIZE = 100


class DeadLetterOperations:
    """ListDeadLetters, RetryDeadLetter and SkipDeadLetter."""

    def __init__(self, redeliveries: Callable[[], Mapping[str, Redelivery]]) -> None:
        """``redeliveries`` are those of the projections that this projector runs, by name."""
        self._redeliveries = redeliveries

    async def list_dead_letters(self, request: pb.ListDeadLettersRequest) -> pb.ListDeadLettersResponse:
        """Oldest position first; raises NotFound, InvalidRequest for a page token, Unavailable."""
        there_are = self._redeliveries()
        wanted = [self._named(request.projection)] if request.projection else list(there_are.values())
        if not wanted:
            return pb.ListDeadLettersResponse()
        place = page_of(request)
        size = request.page_size or PAGE_SIZE
        after = (int(place.after[0]), place.after[1]) if place.after else (0, "")
        scopes = [await each.scope() for each in wanted]
        found, total = await wanted[0].read(
            partial(page, scopes=scopes, stream_name=request.key, after=after, size=size)
        )
        more = len(found) == size
        return pb.ListDeadLettersResponse(
            dead_letters=[_to_proto(letter) for letter in found],
            next_page_token=place.next_token([str(found[-1].position), found[-1].projection]) if more else "",
            total_size=total,
        )

    async def retry_dead_letter(self, request: pb.RetryDeadLetterRequest) -> pb.RetryDeadLetterResponse:
        """Try one key again, or all of a projection; raises NotFound, Unavailable."""
        redelivery = self._named(request.projection)
        keys = [request.key] if request.key else [each.stream_name for each in await redelivery.letters()]
        applied, error = 0, ""
        for key in keys:
            outcome = await redelivery.retry(key)
            applied += outcome.applied
            error = error or (outcome.letter.error if outcome.letter else "")
        return pb.RetryDeadLetterResponse(
            applied=applied, remaining=await redelivery.count(request.key), error=error
        )

    async def skip_dead_letter(self, request: pb.SkipDeadLetterRequest) -> pb.SkipDeadLetterResponse:
        """Leave an event out; raises NotFound, InvalidRequest, Unavailable."""
        redelivery = self._named(request.projection)
        outcome = await redelivery.skip(
            request.key, request.position, who=request.skipped_by, why=request.reason
        )
        return pb.SkipDeadLetterResponse(
            applied=outcome.applied,
            remaining=await redelivery.count(request.key),
            error=outcome.letter.error if outcome.letter else "",
        )

    def _named(self, projection: str) -> Redelivery:
        there_are = self._redeliveries()
        if projection not in there_are:
            raise not_found(projection, list(there_are))
        return there_are[projection]


def _to_proto(letter: Letter) -> pb.DeadLetter:
    parked = Timestamp()
    parked.FromMicroseconds(letter.parked_at)
    return pb.DeadLetter(
        projection=letter.projection,
        build=letter.build,
        key=letter.stream_name,
        position=letter.position,
        waiting=letter.waiting,
        attempts=letter.attempts,
        error=letter.error,
        park_time=parked,
        event_type=letter.event_type,
    )
