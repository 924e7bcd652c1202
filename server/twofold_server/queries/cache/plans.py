"""Which queries are cached, by what, and under which name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import Message
from msgspec import Struct

from twofold_server.messages.contract import ContextContract, QueryContract
from twofold_server.modelling import CoalescedQuery, Context, Query
from twofold_server.queries.cache.entries import row_key


class Plan(Struct, frozen=True, kw_only=True):
    """How the answers to one query are kept."""

    request: type[Message]
    """The request type."""
    response: type[Message]
    """The response type."""
    projection: str
    """The read model that answers."""
    version: int
    """The version of the read model that this process can read."""
    row: Callable[[Any], bytes]
    """From a request to the row that its answer depends on."""
    contract: str
    """A hash of the query's contract: another one means another answer."""


def find_plans(contexts: Iterable[tuple[Context, ContextContract]]) -> Mapping[type[Message], Plan]:
    """The plans of all queries that say what their answers depend on."""
    return {
        query.request: _plan(contract.queries[query.request.DESCRIPTOR.full_name], query.cached_by, context)
        for context, contract in contexts
        for query in context.queries
        if isinstance(query, Query | CoalescedQuery) and query.cached_by is not None
    }


def _plan(contract: QueryContract, cached_by: Callable[[Any], tuple[Any, Any]], context: Context) -> Plan:
    def row(request: Any) -> bytes:
        table, key = cached_by(request)
        return row_key(table.__table__.name, key)

    versions = {projection.name: projection.version for projection in context.projections}
    return Plan(
        request=contract.request,
        response=contract.response,
        projection=contract.projection,
        version=versions[contract.projection],
        row=row,
        contract=_hash_of(contract.request, contract.response),
    )


def _hash_of(*messages: type[Message]) -> str:
    files: dict[str, bytes] = {}
    for message in messages:
        _collect(message.DESCRIPTOR.file, files)
    names = "".join(message.DESCRIPTOR.full_name for message in messages)
    return hashlib.blake2b(names.encode() + b"".join(files.values()), digest_size=8).hexdigest()


def _collect(file: Any, found: dict[str, bytes]) -> None:
    if file.name not in found:
        found[file.name] = file.serialized_pb
        for each in file.dependencies:
            _collect(each, found)
