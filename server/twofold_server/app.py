"""The composition root: what each role is made of. Nothing else creates a store, a channel or a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

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
from twofold_server.messages.contract import ContextContract
from twofold_server.messages.events import EventCodec
from twofold_server.publishing.config import RelayConfig
from twofold_server.publishing.relay import Relay
from twofold_server.rpc import event_service
from twofold_server.rpc.command_services import command_handler, generic_handlers
from twofold_server.rpc.event_service import EventService
from twofold_server.rpc.health import Health
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.server import ServerConfig, serving
from twofold_server.settings import Settings
from twofold_server.supervision.lock import lock_data_dir

RELAY_HEALTH = "twofold.relay"
LAST_MOMENT = 2.0
"""Seconds in which a server that stops publishes what is committed; the log has the rest."""


def run_command_server(settings: Settings) -> None:
    """Run a command server until it is told to stop; raises StartupError."""
    run_role(settings, command_server)


async def command_server(settings: Settings, stop: asyncio.Event) -> None:
    """Take commands, write the log, publish it."""
    contexts = discover(settings.contexts)
    contracts = [contract for _, contract in contexts]
    deciders = find_deciders(contexts)
    async with AsyncExitStack() as stack:
        stack.enter_context(lock_data_dir(settings, "command-server"))
        database = await stack.enter_async_context(open_database(settings.event_database_url))
        store = await SqlEventStore.open(database)
        feed = Feed(await store.head())
        health = Health()
        health.report(RELAY_HEALTH, False)
        relay = Relay(
            store=store,
            config=_relay_config(settings),
            on_change=lambda serves: health.report(RELAY_HEALTH, serves),
        )

        def on_commit(events: Sequence[RecordedEvent]) -> None:
            feed.publish(events)
            relay.offer(events)

        await stack.enter_async_context(_running(relay.run(), before_end=relay.drained()))
        writer = GroupCommit(store, max_batch=settings.max_batch, on_commit=on_commit)
        stack.push_async_callback(writer.close)
        codec = EventCodec(contracts)
        execution = CommandExecution(
            store=store,
            writer=writer,
            streams=HotStreams(store, codec, capacity=settings.stream_cache),
            codec=codec,
            deciders=deciders,
        )
        bus = CommandBus(execution.execute, [logging_outcomes()])
        requests = RequestReader(max_bytes=settings.max_message_bytes)
        services = generic_handlers(
            (c for contract in contracts for c in contract.commands.values()),
            lambda contract: command_handler(contract, bus, requests),
        )
        services[event_service.SERVICE] = EventService(store=store, feed=feed, requests=requests).handlers()
        config = _server_config(settings, settings.command_address)
        address = await stack.enter_async_context(
            serving(config, services, health, packages=_packages(contracts))
        )
        await health.set(services, True)
        await _until(stop, "command-server", address)


async def _until(stop: asyncio.Event, role: str, address: str) -> None:
    log = structlog.get_logger().bind(role=role)
    log.info("serving", address=address)
    await stop.wait()
    log.info("stopping")


@asynccontextmanager
async def _running(
    work: Coroutine[Any, Any, None], before_end: Coroutine[Any, Any, None]
) -> AsyncIterator[None]:
    """Run work beside the block; at its end give ``before_end`` a moment, then cancel the work."""
    task = asyncio.create_task(work)
    try:
        yield
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_MOMENT):
                await before_end
    finally:
        before_end.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _packages(contracts: Iterable[ContextContract]) -> list[str]:
    return ["twofold.v1", *(contract.package for contract in contracts)]


def _server_config(settings: Settings, address: str) -> ServerConfig:
    return ServerConfig(
        address=address,
        max_message_bytes=settings.max_message_bytes,
        drain_seconds=settings.drain_seconds,
        reuse_port=settings.reuse_port,
    )


def _relay_config(settings: Settings) -> RelayConfig:
    return RelayConfig(
        servers=settings.nats_servers,
        replicas=settings.nats_replicas,
        max_age_seconds=settings.nats_max_age_days * 86_400,
        from_position=settings.relay_from_position,
    )
