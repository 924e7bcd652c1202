"""The query bus: each query type has exactly one answer; middleware wraps every dispatch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from google.protobuf.message import Message

from twofold_server.errors import StartupError
from twofold_server.messages.contract import ContextContract, QueryContract
from twofold_server.modelling import AnyQuery, Context, HistoryQuery, WatchQuery
from twofold_server.queries.answer import Answer
from twofold_server.queries.call import QueryCall

Next = Callable[[QueryCall], Awaitable[Answer]]
"""The rest of the way: the next middleware, or the answer."""
Middleware = Callable[[QueryCall, Next], Awaitable[Answer]]
"""Wraps a dispatch: calls the next with the call or another one, or raises."""


class QueryBus:
    """Sends each query through the middleware, the first outermost, to its answer."""

    def __init__(self, handler: Next, middleware: Sequence[Middleware] = ()) -> None:
        self._entry = handler
        for wrap in reversed(middleware):
            self._entry = _wrapped(wrap, self._entry)

    async def ask(self, call: QueryCall) -> Answer:
        """The answer; raises what the answer or the middleware raises."""
        return await self._entry(call)


def _wrapped(wrap: Middleware, proceed: Next) -> Next:
    return lambda call: wrap(call, proceed)


class FoundQuery(NamedTuple):
    """A query RPC and what answers it."""

    contract: QueryContract
    query: AnyQuery


def find_queries(contexts: Iterable[tuple[Context, ContextContract]]) -> Mapping[type[Message], FoundQuery]:
    """What answers each query type; raises StartupError where an answer is missing, doubled or unknown."""
    found: dict[type[Message], FoundQuery] = {}
    for context, contract in contexts:
        for query in context.queries:
            if query.request in found:
                raise StartupError(f"query {_name(query.request)} has two answers; remove one")
            declared = contract.queries.get(_name(query.request))
            if declared is None:
                raise StartupError(
                    f"{_name(query.request)} is answered in {context.package}, but is no query of it"
                )
            found[query.request] = FoundQuery(declared, query)
        _check(context, contract, found)
    return found


def _check(context: Context, contract: ContextContract, found: Mapping[type[Message], FoundQuery]) -> None:
    names = {projection.name for projection in context.projections}
    for declared in contract.queries.values():
        if declared.request not in found:
            raise StartupError(
                f"query {_name(declared.request)} has no answer; add it to the queries of {context.package}"
            )
        _check_kind(declared, found[declared.request].query)
        if not declared.from_log and declared.projection not in names:
            raise StartupError(
                f"query {declared.method} of {context.package} reads projection {declared.projection!r}, "
                "which the context does not have"
            )


def _check_kind(declared: QueryContract, query: AnyQuery) -> None:
    for kind, wanted in ((HistoryQuery, declared.from_log), (WatchQuery, declared.streams)):
        if isinstance(query, kind) is not wanted:
            needs = kind.__name__ if wanted else "Query or CoalescedQuery"
            raise StartupError(
                f"query {declared.method} is answered by a {type(query).__name__}, not a {needs}"
            )


def _name(message: type[Message]) -> str:
    return message.DESCRIPTOR.full_name
