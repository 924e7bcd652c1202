"""Whatever happens to notices, clocks and reads: no answer is older than asked for, or never was.

Two query servers with a shared level stand in front of one read model. Notices reach each of them late, or
not at all; connections break; rows are mended; reads are held up between the snapshot and the answer.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.cached_side import TTL, CachedSide, Clock, Pause, ReadModel, SharedDict, order_in
from twofold_server.queries.answer import Answer
from twofold_server.queries.cache.validity import SILENCE_SECONDS

EDITED = "jar"
"""The order whose row somebody edits by hand, which no notice tells of."""
CHANGED = st.sampled_from(["tea", "cup"])
KEYS = st.sampled_from(["tea", "cup", EDITED])
SIDES = st.integers(0, 1)


class CacheMachine(RuleBasedStateMachine):
    """A model: what each order was, at each position and time."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ReadModel()
        self.clock = Clock()
        shared = SharedDict()
        self.sides = [CachedSide(self.model, shared=shared, clock=self.clock) for _ in range(2)]
        self.under_way: tuple[list[bytes], list[bytes]] = ([], [])
        self.heard_at = [-1e9, -1e9]
        self.heard = [(0, 0), (0, 0)]
        """Epoch and position of the last notice that each side has heard."""
        self.was: list[tuple[float, int, dict[str, int]]] = []
        """When, the position, and the versions from then on."""
        self.reading: list[tuple[str, Coroutine[Any, Any, Answer]]] = []
        """Coroutines that have read."""
        self._send(self.model.notice())
        self.all_notices_come(0)
        self.all_notices_come(1)

    # --- what happens -------------------------------------------------------------------------------

    @rule(order_id=CHANGED)
    def an_order_changes(self, order_id: str) -> None:
        self._send(self.model.write(order_id))

    @rule(order_id=CHANGED)
    def a_batch_is_too_large_to_be_told(self, order_id: str) -> None:
        self.model.write(order_id)
        self._send(self.model.told(None))

    @rule(order_id=CHANGED)
    def a_row_is_mended(self, order_id: str) -> None:
        self._send(self.model.rewrite(order_id))

    @rule()
    def the_position_is_told_again(self) -> None:
        self._send(self.model.notice())

    @rule(side=SIDES)
    def a_notice_comes(self, side: int) -> None:
        if self.under_way[side]:
            self._hear(side, self.under_way[side].pop(0))

    @rule(side=SIDES)
    def all_notices_come(self, side: int) -> None:
        while self.under_way[side]:
            self._hear(side, self.under_way[side].pop(0))

    @rule(side=SIDES)
    def a_notice_is_lost(self, side: int) -> None:
        if self.under_way[side]:
            self.under_way[side].pop(0)

    @rule(side=SIDES)
    def the_connection_breaks(self, side: int) -> None:
        self.under_way[side].clear()
        self.sides[side].changes.deafened()
        self.heard_at[side] = -1e9

    @rule()
    def somebody_edits_a_row_by_hand(self) -> None:
        self.model.versions[EDITED] = self.model.versions.get(EDITED, 0) + 1
        self._note()

    @rule(seconds=st.sampled_from([0.1, 0.1, 1.0, SILENCE_SECONDS]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(seconds=st.sampled_from([TTL / 2, TTL]))
    def a_quiet_time_passes(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.now += 1
            self._send(self.model.notice())
            self.all_notices_come(0)
            self.all_notices_come(1)

    # --- what is asked ------------------------------------------------------------------------------

    @rule(side=SIDES, order_id=KEYS, behind=st.integers(0, 3))
    def somebody_reads(self, side: int, order_id: str, behind: int) -> None:
        token = max(0, self.model.position - behind) if behind < 3 else 0
        answer = _result(self.sides[side].ask(order_id, token=token))
        assert answer.position >= token
        self._check(side, order_id, answer)

    @invariant()
    def whoever_reads_without_a_token_is_not_told_what_is_known_to_be_outdated(self) -> None:
        for order_id in ("tea", EDITED):
            self._check(0, order_id, _result(self.sides[0].ask(order_id)))

    @rule(side=SIDES, order_id=KEYS)
    def a_read_is_held_up(self, side: int, order_id: str) -> None:
        reading = self.sides[side].ask(order_id, pause=Pause())
        try:
            reading.send(None)
        except StopIteration:
            return
        self.reading.append((order_id, reading))

    @precondition(lambda self: self.reading)
    @rule(number=st.integers(0, 5))
    def a_read_goes_on(self, number: int) -> None:
        order_id, reading = self.reading.pop(number % len(self.reading))
        self._was(order_id, _result(reading))

    # --- what must be -------------------------------------------------------------------------------

    def _check(self, side: int, order_id: str, answer: Answer) -> None:
        version, now = order_in(answer).version, self.clock.now
        self._was(order_id, answer)
        current = version == self.model.versions.get(order_id, 0)
        if self.heard[side] == (self.model.epoch, self.model.position) and order_id != EDITED:
            assert current, "every change was heard of, or a gap that tells of it"
        if now - self.heard_at[side] >= SILENCE_SECONDS:
            assert current, "nothing may be trusted in silence"
        overtaken = [at for at, _, versions in self.was if versions.get(order_id, 0) > version]
        assert current or now - overtaken[0] < TTL, "nothing is older than its time"

    def _was(self, order_id: str, answer: Answer) -> None:
        """An answer is what the order was at the position that the answer states."""
        version = order_in(answer).version
        assert any(
            position == answer.position and versions.get(order_id, 0) == version
            for _, position, versions in self.was
        )

    def teardown(self) -> None:
        for _, reading in self.reading:
            reading.close()

    def _send(self, notice: bytes) -> None:
        self._note()
        for queue in self.under_way:
            queue.append(notice)

    def _note(self) -> None:
        self.was.append((self.clock.now, self.model.position, dict(self.model.versions)))

    def _hear(self, side: int, notice: bytes) -> None:
        self.sides[side].hear(notice)
        known = self.sides[side].changes["orders"]
        assert known.generation is not None
        self.heard[side] = (known.generation.epoch, known._position)
        self.heard_at[side] = self.clock.now


def _result(reading: Coroutine[Any, Any, Answer]) -> Answer:
    while True:
        try:
            reading.send(None)
        except StopIteration as done:
            answer: Answer = done.value
            return answer


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
