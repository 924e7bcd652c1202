"""Rows of the read store against rows as the log has them: all of them, or those of a few streams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from functools import partial

from sqlalchemy import Connection

from twofold_server.database import Database
from twofold_server.modelling import Projection
from twofold_server.projections.proof.differences import compare
from twofold_server.projections.proof.findings import Part
from twofold_server.projections.proof.replay import Place
from twofold_server.projections.proof.shapes import Key, Shape, Values, shape_of
from twofold_server.projections.proof.stored import Stand, read_page, read_rows, read_stand
from twofold_server.projections.proof.truth import StreamTruth
from twofold_server.projections.proof.walk import Walk

PAGE = 1000
"""Rows that are read and compared together."""


async def check_all(database: Database, projection: Projection, walk: Walk) -> AsyncGenerator[Part, None]:
    """Compare every row of a projection, page by page.

    Each page is read in a snapshot of its own; the walk then goes on to where that snapshot stands. Rows
    that the walk has and no page had are missing, or came while pages were read: they are looked up again.
    """
    for table in projection.tables:
        shape, after = shape_of(table), None
        while True:
            stand, page = await database.read(partial(_page, projection, shape, after))
            yield await _compare(walk, shape, stand, page, page.keys())
            if len(page) < PAGE:
                break
            after = list(page)[-1]
    for table in projection.tables:
        shape = shape_of(table)
        while keys := await walk.unseen(shape, PAGE):
            stand, rows = await database.read(partial(_rows, projection, shape, keys))
            yield await _compare(walk, shape, stand, rows, keys)
            if len(keys) < PAGE:  # what has come since is not waited for
                break


async def check_streams(
    database: Database, projection: Projection, truth: StreamTruth, known: Iterable[Place]
) -> list[Part]:
    """Compare the rows that some streams make, and rows that claim to be theirs."""
    places = set(known)
    while True:
        await truth.load()
        places |= truth.rows().keys()
        stand, stored = await database.read(partial(_places, projection, places))
        await truth.load()  # the snapshot may be newer than what was known
        expected = truth.rows(up_to=stand.position, left_out=stand.left_out)
        if expected.keys() <= places:
            return _parts(stand, places, stored, expected)
        places |= expected.keys()


async def _compare(
    walk: Walk, shape: Shape, stand: Stand, stored: Mapping[Key, Values], keys: Collection[Key]
) -> Part:
    expected = await walk.at(stand, shape, keys)
    await walk.see(shape, keys)
    return _part(shape, stand, keys, stored, expected)


def _parts(
    stand: Stand, places: Iterable[Place], stored: Mapping[Place, Values], expected: Mapping[Place, Values]
) -> list[Part]:
    by_shape: dict[Shape, list[Key]] = defaultdict(list)
    for shape, key in places:
        by_shape[shape].append(key)
    return [
        _part(
            shape,
            stand,
            keys,
            {key: values for (of, key), values in stored.items() if of is shape},
            {key: values for (of, key), values in expected.items() if of is shape},
        )
        for shape, keys in by_shape.items()
    ]


def _part(
    shape: Shape,
    stand: Stand,
    keys: Collection[Key],
    stored: Mapping[Key, Values],
    expected: Mapping[Key, Values],
) -> Part:
    part = Part(shape, len(keys))
    for key in keys:
        found = compare(shape, key, stored.get(key), expected.get(key), position=stand.position)
        if found is not None:
            part.differences[key] = found
    return part


def _page(
    projection: Projection, shape: Shape, after: Key | None, connection: Connection
) -> tuple[Stand, dict[Key, Values]]:
    return read_stand(connection, projection.name, projection.version), read_page(
        connection, shape, after, PAGE
    )


def _rows(
    projection: Projection, shape: Shape, keys: Collection[Key], connection: Connection
) -> tuple[Stand, dict[Key, Values]]:
    return read_stand(connection, projection.name, projection.version), read_rows(connection, shape, keys)


def _places(
    projection: Projection, places: Iterable[Place], connection: Connection
) -> tuple[Stand, dict[Place, Values]]:
    by_shape: dict[Shape, list[Key]] = defaultdict(list)
    for shape, key in places:
        by_shape[shape].append(key)
    stand = read_stand(connection, projection.name, projection.version)
    return stand, {
        (shape, key): values
        for shape, keys in by_shape.items()
        for key, values in read_rows(connection, shape, keys).items()
    }
