"""What a projector tells: how far it is, and which rows its last batch wrote."""

from __future__ import annotations

import datetime
import json
from typing import Any

from twofold_server.projections.checkpoints import Checkpoint
from twofold_server.projections.notices import Written, progress_notice

HERE = Checkpoint("orders", "log", version=3, epoch=7, position=12, recorded_at=99, head=15, created_at=4)


def told(checkpoint: Checkpoint, written: Written | None) -> Any:
    return json.loads(progress_notice(checkpoint, written))


def test_a_notice_tells_where_the_projection_is_and_what_was_written() -> None:
    assert told(HERE, Written(8, 12, {"orders": ["a", "b"], "sales": [("tea", 3)]})) == {
        "log_id": "log",
        "version": 3,
        "epoch": 7,
        "created_at": 4,
        "position": 12,
        "recorded_at": 99,
        "head": 15,
        "after": 8,
        "touched": {"orders": ["a", "b"], "sales": [["tea", 3]]},
    }


def test_too_many_rows_are_told_as_null() -> None:
    assert told(HERE, Written(8, 12, None))["touched"] is None


def test_a_notice_that_is_repeated_wrote_nothing() -> None:
    assert (told(HERE, None)["after"], told(HERE, None)["touched"]) == (12, {})


def test_what_an_earlier_batch_wrote_does_not_speak_for_what_came_after_it() -> None:
    repeated = told(HERE, Written(8, 10, {"orders": ["a"]}))
    assert (repeated["after"], repeated["touched"]) == (12, {})


def test_keys_may_be_of_any_type() -> None:
    day = datetime.date(2026, 1, 2)
    assert told(HERE, Written(8, 12, {"days": [day]}))["touched"] == {"days": ["2026-01-02"]}
