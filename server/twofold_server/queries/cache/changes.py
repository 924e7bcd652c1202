"""From a projector's notices to what is known of each projection's rows."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from twofold_server.queries.answer import Generation
from twofold_server.queries.cache.entries import row_key
from twofold_server.queries.cache.validity import Validity


class _Notice(msgspec.Struct):
    log_id: str
    position: int
    version: int = 0
    epoch: int = 0
    created_at: int = 0
    after: int = 0
    touched: dict[str, list[msgspec.Raw]] | None = None


class Changes:
    """What was heard of every projection."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._validities: dict[str, Validity] = {}

    def __getitem__(self, projection: str) -> Validity:
        """What is known of the answers of one projection."""
        known = self._validities.get(projection)
        if known is None:
            known = self._validities[projection] = Validity(clock=self._clock)
        return known

    def heard(self, projection: str, data: bytes) -> None:
        """Take in a notice; raises msgspec.MsgspecError where it is none."""
        notice = msgspec.json.decode(data, type=_Notice)
        rows = None
        if notice.touched is not None:
            rows = [row_key(table, key) for table, keys in notice.touched.items() for key in keys]
        generation = Generation(notice.log_id, notice.version, notice.epoch, notice.created_at)
        self[projection].heard(generation, notice.position, after=notice.after, rows=rows)

    def deafened(self) -> None:
        """The connection is lost: notices may be missed from now on."""
        for known in self._validities.values():
            known.deafened()
