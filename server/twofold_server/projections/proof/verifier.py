"""Verification of one read model: it is what the log makes of it, or here is what differs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from twofold_server.database import Database
from twofold_server.errors import InvalidRequest
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Projection, Rule
from twofold_server.projections.handlers import Handlers
from twofold_server.projections.proof.checking import check_all, check_streams
from twofold_server.projections.proof.differences import Difference
from twofold_server.projections.proof.draw import Draw, Drawn
from twofold_server.projections.proof.explain import Story, read_story
from twofold_server.projections.proof.findings import Finding, Part, Progress
from twofold_server.projections.proof.repair import Repair
from twofold_server.projections.proof.replay import Place, Replay
from twofold_server.projections.proof.rules import NotChecked, Rules
from twofold_server.projections.proof.scratch import Scratch
from twofold_server.projections.proof.shapes import Key, Shape, shape_of
from twofold_server.projections.proof.stored import Stand, count_rows, read_stand
from twofold_server.projections.proof.tally import Tally
from twofold_server.projections.proof.truth import StreamTruth, Truth
from twofold_server.projections.proof.walk import Walk
from twofold_server.projections.sources import StreamLog

TOGETHER = 20
"""Streams that are read and compared together."""


class Verifier:
    """Compares the rows of a projection with those that its handlers make of the log.

    Comparing is done at the position that the snapshot of the rows states, so it is right while the
    projector goes on. Nothing is written without ``mend``.
    """

    def __init__(
        self,
        *,
        database: Database,
        projection: Projection,
        codec: EventCodec,
        log: StreamLog,
        repair: Repair,
        rules: Rules,
    ) -> None:
        self._database = database
        self._projection = projection
        self._handlers = Handlers(projection, codec)
        self._replay = Replay(projection, self._handlers)
        self._log = log
        self._draw = Draw(database=database, replay=self._replay, handlers=self._handlers, log=log)
        self._repair = repair
        self._rules = rules

    async def verify_all(self, *, mend: bool = False) -> AsyncGenerator[Finding, None]:
        """Every row of every table, by a fold of the whole log into a temporary file; then the rules.

        Raises LogAway, Unavailable; with ``mend`` also TakenOver.
        """
        stand = await self._stand()
        shapes = [shape_of(table) for table in self._projection.tables]
        tally = Tally(stand.position, total=await self._database.read(lambda c: count_rows(c, shapes)))
        with Scratch() as scratch:
            walk = self.walk(scratch)
            async for position in walk.to(stand):
                yield Progress(position=position, head=stand.position, total=tally.total)
            async with aclosing(check_all(self._database, self._projection, walk)) as parts:
                async for part in parts:
                    for finding in await self._findings(part, walk, tally, mend):
                        yield finding
            for rule in self._rules.about(self._projection.name):
                for difference in await self._check(rule, walk, tally):
                    yield difference
        yield tally.summary()

    async def verify_sample(self, count: int, *, mend: bool = False) -> AsyncGenerator[Finding, None]:
        """About so many rows of tables that tell the stream of a row, see Draw.

        Raises what ``verify_all`` does, and InvalidRequest where no table tells its stream.
        """
        if not self.tells_streams:
            raise InvalidRequest(
                f"no table of projection {self._projection.name} tells the stream of a row; verify all rows",
                reason="NO_STREAMS",
            )
        stand = await self._stand()
        drawn = await self._draw.at_random(stand, count)
        async with aclosing(self._verify(stand, drawn, mend)) as findings:
            async for finding in findings:
                yield finding

    async def verify_streams(
        self, streams: Sequence[str], *, mend: bool = False
    ) -> AsyncGenerator[Finding, None]:
        """The rows that these streams make; raises what ``verify_all`` does."""
        stand = await self._stand()
        async with aclosing(self._verify(stand, {name: set() for name in streams}, mend)) as findings:
            async for finding in findings:
                yield finding

    async def explain(self, shape: Shape, key: Key) -> Story:
        """How a row came to be as it is, by its stream where the table tells that, else by the whole log.

        Raises LogAway, Unavailable.
        """
        read = partial(read_story, projection=self._projection, shape=shape, key=key)
        stand, story = await self._database.read(read)
        if shape in self._replay.shapes:
            events = await self._log.read_stream(self._replay.stream_of(shape, key))
            made = [event for event in events if event.position <= stand.position]
            self._replay.follow(made, stand.left_out, (shape, key), story.tell)
            return story
        with Scratch() as scratch:
            walk = self.walk(scratch)
            walk.watch(shape, key, story.tell)
            await walk.go(stand)
        return story

    @property
    def tells_streams(self) -> bool:
        """Whether there is a table that tells the stream of a row."""
        return bool(self._replay.shapes)

    def stream_of(self, place: Place) -> str:
        """The stream of a row, of a table that tells it."""
        return self._replay.stream_of(*place)

    async def next_rows(self, count: int) -> Drawn:
        """See Draw; raises Unavailable, LogAway."""
        return await self._draw.next(await self._stand(), count)

    async def differences(self, drawn: Drawn) -> dict[Place, Difference]:
        """What differs among some rows; raises Unavailable, LogAway."""
        return {
            (part.shape, key): difference
            async for _, part in self._parts(drawn)
            for key, difference in part.differences.items()
        }

    def walk(self, scratch: Scratch) -> Walk:
        """A walk through the log, not yet begun."""
        return Walk(projection=self._projection, handlers=self._handlers, log=self._log, scratch=scratch)

    async def _verify(self, stand: Stand, drawn: Drawn, mend: bool) -> AsyncGenerator[Finding, None]:
        tally = Tally(stand.position, total=len(drawn))
        tally.passed_over = self._passed_over()
        async for truth, part in self._parts(drawn):
            for finding in await self._findings(part, truth, tally, mend):
                yield finding
        yield tally.summary()

    async def _parts(self, drawn: Drawn) -> AsyncIterator[tuple[StreamTruth, Part]]:
        names = list(drawn)
        for start in range(0, len(names), TOGETHER):
            some = names[start : start + TOGETHER]
            truth = StreamTruth(self._replay, self._log, some)
            places = {place for name in some for place in drawn[name]}
            for part in await check_streams(self._database, self._projection, truth, places):
                self._leave_out_what_went(part)
                yield truth, part

    async def _stand(self) -> Stand:
        name, version = self._projection.name, self._projection.version
        return await self._database.read(lambda c: read_stand(c, name, version))

    async def _check(self, rule: Rule, walk: Walk, tally: Tally) -> list[Difference]:
        try:
            found = await self._rules.check(rule, walk)
        except NotChecked as error:
            tally.passed_over += (f"rule {rule.name}: {error}",)
            return []
        tally.add_rule(rule.name, holds=not found)
        return found

    async def _findings(self, part: Part, truth: Truth, tally: Tally, mend: bool) -> list[Finding]:
        self._leave_out_what_went(part)
        if part.differences and mend:
            await self._repair.mend(truth, part.shape, list(part.differences))
        found: list[Finding] = [replace(each, repaired=mend) for each in part.differences.values()]
        tally.add(part, repaired=mend)
        return [*found, tally.progress()]

    def _leave_out_what_went(self, part: Part) -> None:
        """A row that is old enough to be deleted is not judged: some of what belongs to it may be gone."""
        retention, now = self._projection.retention, datetime.now(UTC)
        if retention is not None:
            for key in list(part.differences):
                if retention.is_expired(part.shape.table, part.shape.only_key(key), now):
                    del part.differences[key]

    def _passed_over(self) -> tuple[str, ...]:
        single = set(self._projection.stream_of)
        return tuple(
            f"table {shape_of(table).name}: several streams feed its rows, verify all to check it"
            for table in self._projection.tables
            if table not in single
        )
