"""The rules of appending, for any batches at all."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from tests.appends import new_append
from twofold_server.event_store.appending import (
    Append,
    Appended,
    AppendOutcome,
    Basis,
    Conflict,
    Replay,
    StoredResponse,
    plan_append,
)
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.expected_version import Any, Exactly, ExpectedVersion, NoStream, holds

expectations: st.SearchStrategy[ExpectedVersion] = st.one_of(
    st.just(Any()), st.just(NoStream()), st.builds(Exactly, st.integers(1, 6))
)


@dataclasses.dataclass(frozen=True)
class Asked:
    """An append, before it has a basis."""

    stream: str
    expected: ExpectedVersion
    events: int
    request_id: str
    basis: int


asked = st.builds(
    Asked,
    stream=st.sampled_from(["order-1", "order-2", "order-3"]),
    expected=expectations,
    events=st.integers(0, 3),
    request_id=st.sampled_from(["", "", "request-1", "request-2", "request-3"]),
    basis=st.integers(0, 9),
)
batches = st.lists(st.lists(asked, max_size=8), max_size=6)


class Log:
    """What a store keeps, in dictionaries."""

    def __init__(self) -> None:
        self.events: list[RecordedEvent] = []
        self.versions: dict[str, int] = {}
        self.responses: dict[str, StoredResponse] = {}

    def append(self, batch: list[Append]) -> list[AppendOutcome]:
        """Append a batch."""
        plan = plan_append(
            batch, head=len(self.events), versions=self.versions, responses=self.responses, recorded_at=1
        )
        assert plan.head == len(self.events) + len(plan.events)
        self.events += plan.events
        self.versions |= plan.versions
        self.responses |= plan.responses
        return plan.outcomes


def run(all_asked: list[list[Asked]]) -> tuple[Log, list[tuple[Append, AppendOutcome, bool]]]:
    """The log after all batches; each append with its outcome and whether its basis was broken before."""
    log, bases, history = Log(), [Basis() for _ in range(10)], []
    for batch in all_asked:
        appends = [
            new_append(
                a.stream,
                events=a.events,
                expected=a.expected,
                request_id=a.request_id,
                basis=bases[a.basis],
            )
            for a in batch
        ]
        broken = {id(a.basis): a.basis.broken for a in appends}
        for append, outcome in zip(appends, log.append(appends), strict=True):
            history.append((append, outcome, broken[id(append.basis)]))
            if not isinstance(outcome, Appended):
                broken[id(append.basis)] = True
    return log, history


@given(batches)
def test_positions_are_gapless_and_stream_versions_contiguous(all_asked: list[list[Asked]]) -> None:
    log, _ = run(all_asked)
    assert [e.position for e in log.events] == list(range(1, len(log.events) + 1))
    for stream in {e.stream_name for e in log.events}:
        versions = [e.stream_version for e in log.events if e.stream_name == stream]
        assert versions == list(range(1, len(versions) + 1))
        assert log.versions[stream] == len(versions)


@given(batches)
def test_a_request_id_is_accepted_at_most_once_and_then_always_replayed(all_asked: list[list[Asked]]) -> None:
    accepted: dict[str, bytes] = {}
    _, history = run(all_asked)
    for append, outcome, _ in history:
        if append.request_id in accepted:
            assert outcome == Replay(StoredResponse(b"", accepted[append.request_id]))
        elif isinstance(outcome, Appended) and append.request_id:
            accepted[append.request_id] = outcome.response
        else:
            assert not isinstance(outcome, Replay)


@given(batches)
def test_what_is_accepted_met_its_expectation_and_what_conflicts_did_not(
    all_asked: list[list[Asked]],
) -> None:
    versions: dict[str, int] = {}
    _, history = run(all_asked)
    for append, outcome, broken in history:
        actual = versions.get(append.stream_name, 0)
        fits = holds(append.expected, actual) and not broken
        if isinstance(outcome, Appended):
            assert fits
            assert [e.event_id for e in outcome.events] == [e.event_id for e in append.events]
            versions[append.stream_name] = actual + len(append.events)
        elif isinstance(outcome, Conflict):
            assert outcome.actual == actual
            assert not fits


@given(batches)
def test_after_a_refusal_nothing_else_is_accepted_on_its_basis(all_asked: list[list[Asked]]) -> None:
    _, history = run(all_asked)
    refused: set[int] = set()
    for append, outcome, _ in history:
        if isinstance(outcome, Appended):
            assert id(append.basis) not in refused
        else:
            assert append.basis.broken
            refused.add(id(append.basis))


@given(batches)
def test_a_response_knows_the_end_of_the_log_after_its_append(all_asked: list[list[Asked]]) -> None:
    head = 0
    _, history = run(all_asked)
    for _, outcome, _ in history:
        if isinstance(outcome, Appended):
            head += len(outcome.events)
            assert outcome.response == b"stored at %d" % head


def test_only_appends_with_a_request_id_store_a_response() -> None:
    plan = plan_append(
        [new_append(), new_append(request_id="request-1", request_hash=b"hash")],
        head=0,
        versions={},
        responses={},
        recorded_at=1,
    )
    assert plan.responses == {"request-1": StoredResponse(b"hash", b"stored at 2")}


def test_events_are_recorded_as_they_were_to_be_written() -> None:
    append = new_append(events=2)
    plan = plan_append([append], head=41, versions={"order-1": 6}, responses={}, recorded_at=99)
    for n, (new, written) in enumerate(zip(append.events, plan.events, strict=True)):
        assert written == RecordedEvent(
            42 + n,
            "order-1",
            7 + n,
            new.event_id,
            new.type_name,
            new.revision,
            new.data,
            new.metadata,
            99,
        )


def test_a_check_tells_what_an_append_would_come_to_and_stores_nothing() -> None:
    stored = StoredResponse(b"hash", b"first answer")
    true, stale, known = (
        new_append(events=0, expected=Exactly(version), request_id=request, only_check=True)
        for version, request in ((3, "request-1"), (2, ""), (2, "request-2"))
    )
    plan = plan_append(
        [true, stale, known], head=9, versions={"order-1": 3}, responses={"request-2": stored}, recorded_at=1
    )
    assert plan.outcomes == [Appended([], b"stored at 9"), Conflict(3), Replay(stored)]
    assert (plan.head, plan.events, plan.versions, plan.responses) == (9, [], {}, {})
    assert [append.basis.broken for append in (true, stale, known)] == [False, True, False]
