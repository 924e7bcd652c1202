"""The command bus: each command type has exactly one handler; middleware wraps every dispatch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from twofold_server.commands.call import CommandCall, CommandResult
from twofold_server.errors import StartupError
from twofold_server.messages.contract import ContextContract
from twofold_server.modelling import Context, Decider

Next = Callable[[CommandCall], Awaitable[CommandResult]]
"""The rest of the way: the next middleware, or the handler."""
Middleware = Callable[[CommandCall, Next], Awaitable[CommandResult]]
"""Wraps a dispatch: calls the next with the call or another one, or raises."""


class CommandBus:
    """Sends each command through the middleware, the first outermost, to its handler."""

    def __init__(self, handler: Next, middleware: Sequence[Middleware]) -> None:
        self._entry = handler
        for wrap in reversed(middleware):
            self._entry = _wrapped(wrap, self._entry)

    async def dispatch(self, call: CommandCall) -> CommandResult:
        """Handle a command; raises what the handler or the middleware raises."""
        return await self._entry(call)


def _wrapped(wrap: Middleware, proceed: Next) -> Next:
    return lambda call: wrap(call, proceed)


def find_deciders(
    contexts: Iterable[tuple[Context, ContextContract]],
) -> Mapping[type[Message], Decider[Any]]:
    """The decider of each command type; raises StartupError where one is missing, doubled or unknown."""
    found: dict[type[Message], Decider[Any]] = {}
    categories: dict[str, str] = {}
    for context, contract in contexts:
        for decider in context.deciders:
            _claim(categories, decider.category, context.package)
            for command in decider.decide:
                if command in found:
                    raise StartupError(f"command {command.DESCRIPTOR.full_name} has two handlers; remove one")
                found[command] = decider
        _check_commands(context, contract, found)
        _check_events(context, contract)
    return found


def _claim(categories: dict[str, str], category: str, package: str) -> None:
    if not category or "-" in category:
        raise StartupError(f"the category {category!r} in {package} must be a word without a dash")
    if category in categories:
        raise StartupError(f"the category {category!r} of {package} is taken by {categories[category]}")
    categories[category] = package


def _check_commands(
    context: Context, contract: ContextContract, found: Mapping[type[Message], Decider[Any]]
) -> None:
    declared = {c.request for c in contract.commands.values()}
    for command in declared - found.keys():
        name = command.DESCRIPTOR.full_name
        raise StartupError(f"command {name} has no handler; add it to a decider of context {context.package}")
    for decider in context.deciders:
        for command in decider.decide.keys() - declared:
            raise StartupError(
                f"{command.DESCRIPTOR.full_name} is handled in {context.package}, but is no command of it"
            )


def _check_events(context: Context, contract: ContextContract) -> None:
    evolved = [event for decider in context.deciders for event in decider.evolve]
    for event in contract.events.values():
        count = evolved.count(event.message)
        if count != 1:
            raise StartupError(f"event {event.type_name} is evolved by {count} deciders; it must be one")
    for kind in set(evolved) - {event.message for event in contract.events.values()}:
        raise StartupError(
            f"{kind.DESCRIPTOR.full_name} is evolved in {context.package}, but is no event of it"
        )
