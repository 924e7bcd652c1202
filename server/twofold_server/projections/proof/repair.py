"""Rows written anew from the log, by the projector that may write them and by no other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from sqlalchemy import Connection, delete, insert

from twofold_server.database import Database
from twofold_server.errors import Unavailable
from twofold_server.projections.fold import Fold
from twofold_server.projections.notices import ProgressNotices, Written
from twofold_server.projections.proof.shapes import Key, Shape, Values
from twofold_server.projections.proof.stored import Stand, among, read_stand
from twofold_server.projections.proof.truth import Truth

_TRIES = 10


class Repair:
    """Rebuilds rows under the fence of a fold, and tells those who keep answers.

    The fold is kept still meanwhile: rows are written as the log has them at the checkpoint, in a
    transaction that fails where this projector is not the newest. So no event is lost, and none is in a row
    twice.
    """

    def __init__(self, database: Database, fold: Callable[[], Fold], notices: ProgressNotices) -> None:
        """``fold`` gives the fold that writes the live build at the moment."""
        self._database = database
        self._live = fold
        self._notices = notices

    async def mend(self, truth: Truth, shape: Shape, keys: Collection[Key]) -> None:
        """Write these rows anew, and delete those that should not be.

        Raises TakenOver, LogAway, Unavailable.
        """
        fold = self._live()
        if not fold.is_mine:
            raise Unavailable(
                f"this projector does not keep projection {fold.name} at the moment",
                reason="PROJECTION_NOT_STARTED",
            )
        async with fold.still():
            await fold.refresh()
            for _ in range(_TRIES):
                stand = await self._database.read(partial(read_stand, projection=fold.name))
                rows = await truth.at(stand, shape, keys)
                if await fold.rewrite(partial(_write, fold.name, stand, shape, keys, rows)):
                    await self._tell(fold, shape, keys)
                    return
        raise Unavailable(
            f"dead letters of projection {fold.name} come and go; repair again in a moment",
            reason="DEAD_LETTERS_CHANGE",
        )

    async def _tell(self, fold: Fold, shape: Shape, keys: Collection[Key]) -> None:
        here = fold.position
        touched = {shape.name: [shape.key_for_rows(key) for key in keys]}
        await self._notices.tell(fold.checkpoint, Written(here, here, touched))


def _write(
    projection: str,
    stand: Stand,
    shape: Shape,
    keys: Collection[Key],
    rows: Mapping[Key, Values],
    connection: Connection,
) -> bool:
    """Whether the read model still stands where these rows belong; then they were written."""
    now = read_stand(connection, projection)
    if (now.position, now.left_out) != (stand.position, stand.left_out):
        return False
    table = shape.columns[0].table
    connection.execute(delete(table).where(among(connection, shape, keys)))
    if rows:
        names = [column.key for column in shape.columns]
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows.values()])
    return True
