"""The command server, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import structlog

from twofold_server.app.parts import proto_packages, relay_config, running, server_config, until
from twofold_server.broker import hearing, nats_client
from twofold_server.commands.bus import CommandBus, Middleware, find_deciders
from twofold_server.commands.execution import CommandExecution
from twofold_server.commands.metrics import CommandMetrics
from twofold_server.commands.middleware import observing
from twofold_server.commands.progress import SUBJECT as PROGRESS
from twofold_server.commands.progress import ProjectionProgress, too_far_behind
from twofold_server.commands.pruning import prune_for_ever
from twofold_server.commands.snapshots import Snapshots
from twofold_server.commands.streams import HotStreams
from twofold_server.commands.waiting import waiting_for_projections
from twofold_server.contexts import Found, discover
from twofold_server.database import open_database
from twofold_server.errors import StartupError
from twofold_server.event_store.contract_check import every_second, require_readable
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.feed import Feed
from twofold_server.event_store.group_commit import GroupCommit
from twofold_server.event_store.sql import SqlEventStore
from twofold_server.event_store.sql.contracts import ContractHistory
from twofold_server.event_store.store import EventStore
from twofold_server.locking import lock_data_dir
from twofold_server.messages.events import EventCodec
from twofold_server.projections.strategies import strategies
from twofold_server.publishing.relay import Relay
from twofold_server.publishing.subjects import HEAD
from twofold_server.rpc import batch_service, event_service
from twofold_server.rpc.admission import Admission
from twofold_server.rpc.batch_service import BatchService
from twofold_server.rpc.command_services import command_handler, generic_handlers
from twofold_server.rpc.event_service import EventService
from twofold_server.rpc.health import Health
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.server import Handlers, serving
from twofold_server.settings import Settings

RELAY_HEALTH = "twofold.relay"
"""The name of the relay in the health service."""


async def command_server(settings: Settings, stop: asyncio.Event) -> None:
    """Take commands, write the log, publish it."""
    contexts = discover(settings.contexts)
    # What is wrong with a context is told before anything is opened.
    codec = EventCodec(contract for _, contract in contexts)
    find_deciders(contexts)
    _check_limits(settings, contexts)
    sync = strategies(settings.projection_sync, [p for context, _ in contexts for p in context.projections])
    health = Health()
    async with AsyncExitStack() as stack:
        store = await _open_log(stack, settings, contexts)
        feed = Feed(store.log_id, await store.head())
        progress = ProjectionProgress(store.log_id)
        relay = await _start_relay(stack, settings, store, health)
        await _hear(stack, settings, feed, progress)

        def on_commit(events: Sequence[RecordedEvent]) -> None:
            feed.publish(events)
            relay.offer(events)

        writer = GroupCommit(
            store, max_batch=settings.max_batch, on_commit=on_commit, linger=settings.commit_linger
        )
        stack.push_async_callback(writer.close)
        admission = Admission(
            max_in_flight=settings.max_in_flight,
            max_queue_seconds=settings.max_queue_seconds,
            queue_age=lambda: writer.queue_age,
            pressure=lambda: too_far_behind(settings.max_projection_lag, progress.positions, feed.head),
        )
        waiting = waiting_for_projections(
            progress, sync, immediate=[name for name, strategy in sync.items() if strategy.immediate]
        )
        bus = await _start_bus(stack, settings, contexts, codec, store, writer, waiting)
        log = partial(EventService, store=store, feed=feed, codec=codec)
        services = _services(settings, contexts, bus, admission, log)
        address = await stack.enter_async_context(
            serving(
                server_config(settings, settings.command_address),
                services,
                health,
                packages=proto_packages(contract for _, contract in contexts),
            )
        )
        await health.set(services, True)
        await until(stop, "command-server", address)


def _check_limits(settings: Settings, contexts: Sequence[Found]) -> None:
    there_are = _projections(contexts)
    for name in settings.max_projection_lag:
        if name not in there_are:
            raise StartupError(
                f"TWOFOLD_MAX_PROJECTION_LAG names the projection {name}; there are {', '.join(there_are)}"
            )


def _projections(contexts: Sequence[Found]) -> list[str]:
    return sorted(projection.name for context, _ in contexts for projection in context.projections)


async def _open_log(stack: AsyncExitStack, settings: Settings, contexts: Sequence[Found]) -> EventStore:
    if settings.event_database_url.startswith("sqlite"):  # PostgreSQL takes any number of servers
        stack.enter_context(lock_data_dir(settings.data_dir, "command-server"))
    database = await stack.enter_async_context(open_database(settings.event_database_url))
    store = await SqlEventStore.open(database)
    contracts = [contract for _, contract in contexts]
    await require_readable(contracts, ContractHistory(database), progress=every_second(_tell_progress))
    await stack.enter_async_context(
        running(prune_for_ever(store, keep_seconds=settings.request_id_days * 86_400))
    )
    return store


def _tell_progress(position: int, head: int) -> None:
    structlog.get_logger().info("contract changed, looking through the log", position=position, head=head)


async def _start_relay(stack: AsyncExitStack, settings: Settings, store: EventStore, health: Health) -> Relay:
    health.report(RELAY_HEALTH, False)
    relay = Relay(
        store=store,
        config=relay_config(settings),
        on_change=lambda serves: health.report(RELAY_HEALTH, serves),
    )
    await stack.enter_async_context(running(relay.run(), before_end=relay.drained))
    return relay


async def _hear(stack: AsyncExitStack, settings: Settings, feed: Feed, progress: ProjectionProgress) -> None:
    """Hear how far projections are, and what other command servers have committed."""
    client = await stack.enter_async_context(
        nats_client(settings.nats_servers, name="twofold-command-server")
    )
    await stack.enter_async_context(hearing(client, {PROGRESS: progress.heard, HEAD: feed.heard}))


async def _start_bus(
    stack: AsyncExitStack,
    settings: Settings,
    contexts: Sequence[Found],
    codec: EventCodec,
    store: EventStore,
    writer: GroupCommit,
    waiting: Middleware,
) -> CommandBus:
    snapshots = Snapshots(store, every=settings.snapshot_every)
    await stack.enter_async_context(running(snapshots.run()))
    execution = CommandExecution(
        store=store,
        writer=writer,
        snapshots=snapshots,
        streams=HotStreams(store, codec, capacity=settings.stream_cache),
        codec=codec,
        deciders=find_deciders(contexts),
    )
    metrics = CommandMetrics(writer.statistics)
    await stack.enter_async_context(running(metrics.run()))
    return CommandBus(execution.execute, [observing(metrics), waiting])


def _services(
    settings: Settings,
    contexts: Sequence[Found],
    bus: CommandBus,
    admission: Admission,
    log: Callable[..., EventService],
) -> Handlers:
    requests = RequestReader(max_bytes=settings.max_message_bytes)
    commands = [command for _, contract in contexts for command in contract.commands.values()]
    batches = BatchService(contracts=commands, bus=bus, requests=requests, admission=admission)
    return {
        **generic_handlers(commands, lambda contract: command_handler(contract, bus, requests, admission)),
        batch_service.SERVICE: batches.handlers(),
        event_service.SERVICE: log(requests=requests).handlers(),
    }
