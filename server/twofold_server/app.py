"""The composition root: what each role is made of. Nothing else creates a store, a channel or a server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog

from twofold_server.commands.bus import CommandBus, find_deciders
from twofold_server.commands.execution import CommandExecution
from twofold_server.commands.middleware import logging_outcomes
from twofold_server.commands.streams import HotStreams
from twofold_server.contexts import discover
from twofold_server.database import open_database
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.feed import Feed
from twofold_server.event_store.group_commit import GroupCommit
from twofold_server.event_store.sql import SqlEventStore
from twofold_server.lifecycle import run_role
from twofold_server.messages.events import EventCodec
from twofold_server.rpc import event_service
from twofold_server.rpc.command_services import command_handler, generic_handlers
from twofold_server.rpc.event_service import EventService
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.server import ServerConfig, serving
from twofold_server.settings import Settings


def run_command_server(settings: Settings) -> None:
    """Run a command server until it is told to stop; raises StartupError."""
    run_role(settings, command_server)


async def command_server(settings: Settings, stop: asyncio.Event) -> None:
    """Take commands, write the log, publish it."""
    log = structlog.get_logger().bind()
    contexts = discover(settings.contexts)
    contracts = [contract for _, contract in contexts]
    deciders = find_deciders(contexts)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings.event_database_url))
        store = await SqlEventStore.open(database)
        feed = Feed(await store.head())

        def on_commit(events: Sequence[RecordedEvent]) -> None:
            feed.publish(events)

        writer = GroupCommit(store, max_batch=settings.max_batch, on_commit=on_commit)
        stack.push_async_callback(writer.close)
        codec = EventCodec(contracts)
        streams = HotStreams(store, codec, capacity=settings.stream_cache)
        execution = CommandExecution(
            store=store, writer=writer, streams=streams, codec=codec, deciders=deciders
        )
        bus = CommandBus(execution.execute, [logging_outcomes()])
        requests = RequestReader(max_bytes=settings.max_message_bytes)
        services = generic_handlers(
            (c for contract in contracts for c in contract.commands.values()),
            lambda contract: command_handler(contract, bus, requests),
        )
        services[event_service.SERVICE] = EventService(store=store, feed=feed, requests=requests).handlers()
        config = ServerConfig(
            address=settings.command_address,
            max_message_bytes=settings.max_message_bytes,
            drain_seconds=settings.drain_seconds,
            reuse_port=settings.reuse_port,
        )
        packages = ["twofold.v1", *(contract.package for contract in contracts)]
        server = await stack.enter_async_context(serving(config, services, packages=packages))
        await server.health.set_all(True)
        log.info("serving", role="command-server", address=server.address)
        await stop.wait()
