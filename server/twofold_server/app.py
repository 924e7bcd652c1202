"""The composition root: what each role is made of. Nothing else creates a store, a channel or a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog

from twofold_server.broker import hearing, nats_client
from twofold_server.commands.bus import CommandBus, find_deciders
from twofold_server.commands.execution import CommandExecution
from twofold_server.commands.metrics import CommandMetrics
from twofold_server.commands.middleware import logging_outcomes
from twofold_server.commands.progress import SUBJECT as PROGRESS_SUBJECT
from twofold_server.commands.progress import ProjectionProgress, too_far_behind
from twofold_server.commands.pruning import prune_for_ever
from twofold_server.commands.snapshots import Snapshots
from twofold_server.commands.streams import HotStreams
from twofold_server.commands.waiting import waiting_for_projections
from twofold_server.contexts import discover
from twofold_server.database import open_database
from twofold_server.event_store.events import RecordedEvent
from twofold_server.event_store.feed import Feed
from twofold_server.event_store.group_commit import GroupCommit
from twofold_server.event_store.sql import SqlEventStore
from twofold_server.lifecycle import run_role, settle
from twofold_server.locking import lock_data_dir
from twofold_server.messages.contract import ContextContract
from twofold_server.messages.events import EventCodec
from twofold_server.projections.checkpoints import read_checkpoint
from twofold_server.projections.event_log import open_event_log
from twofold_server.projections.jetstream import JetStreamHints
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.projector import HEALTH_NAME as PROJECTOR_HEALTH
from twofold_server.projections.projector import Projector
from twofold_server.projections.schema import is_prepared
from twofold_server.publishing.config import RelayConfig
from twofold_server.publishing.headers import recorded_event, source_of
from twofold_server.publishing.relay import Relay
from twofold_server.publishing.stream import STREAM
from twofold_server.publishing.subjects import HEAD as HEAD_SUBJECT
from twofold_server.queries.answers import Answers
from twofold_server.queries.bus import QueryBus, find_queries
from twofold_server.queries.middleware import logging_answers
from twofold_server.queries.notices import notice_handlers
from twofold_server.queries.positions import Positions
from twofold_server.queries.read_store import ReadStore
from twofold_server.rpc import batch_service, event_service
from twofold_server.rpc.admission import Admission
from twofold_server.rpc.batch_service import BatchService
from twofold_server.rpc.command_services import command_handler, generic_handlers
from twofold_server.rpc.event_service import EventService
from twofold_server.rpc.health import Health
from twofold_server.rpc.query_services import query_handler
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.server import ServerConfig, serving
from twofold_server.settings import Settings

HEALTH_SECONDS = 0.1
"""How often a role looks whether it is healthy."""
RELAY_HEALTH = "twofold.relay"
LAST_MOMENT = 2.0
"""Seconds in which a server that stops publishes what is committed; the log has the rest."""


def run_command_server(settings: Settings) -> None:
    """Run a command server until it is told to stop; raises StartupError."""
    run_role(settings, command_server)


def run_projector(settings: Settings) -> None:
    """Run a projector until it is told to stop; raises StartupError."""
    run_role(settings, projector)


def run_query_server(settings: Settings) -> None:
    """Run a query server until it is told to stop; raises StartupError."""
    run_role(settings, query_server)


async def command_server(settings: Settings, stop: asyncio.Event) -> None:
    """Take commands, write the log, publish it."""
    contexts = discover(settings.contexts)
    contracts = [contract for _, contract in contexts]
    deciders = find_deciders(contexts)
    async with AsyncExitStack() as stack:
        if settings.event_database_url.startswith("sqlite"):  # PostgreSQL takes any number of servers
            stack.enter_context(lock_data_dir(settings.data_dir, "command-server"))
        database = await stack.enter_async_context(open_database(settings.event_database_url))
        store = await SqlEventStore.open(database)
        feed = Feed(store.log_id, await store.head())
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

        await stack.enter_async_context(_running(relay.run(), before_end=relay.drained))
        await stack.enter_async_context(
            _running(prune_for_ever(store, keep_seconds=settings.request_id_days * 86_400))
        )
        client = await stack.enter_async_context(
            nats_client(settings.nats_servers, name="twofold-command-server")
        )
        progress = ProjectionProgress(store.log_id)
        await stack.enter_async_context(
            hearing(client, {PROGRESS_SUBJECT: progress.heard, HEAD_SUBJECT: feed.heard})
        )
        writer = GroupCommit(
            store, max_batch=settings.max_batch, on_commit=on_commit, linger=settings.commit_linger
        )
        stack.push_async_callback(writer.close)
        codec = EventCodec(contracts)
        snapshots = Snapshots(store, every=settings.snapshot_every)
        await stack.enter_async_context(_running(snapshots.run()))
        execution = CommandExecution(
            store=store,
            writer=writer,
            snapshots=snapshots,
            streams=HotStreams(store, codec, capacity=settings.stream_cache),
            codec=codec,
            deciders=deciders,
        )
        metrics = CommandMetrics(writer.statistics)
        await stack.enter_async_context(_running(metrics.run()))
        projections = [p.name for context, _ in contexts for p in context.projections]
        middleware = [logging_outcomes(), metrics.counting(), waiting_for_projections(progress, projections)]
        bus = CommandBus(execution.execute, middleware)
        requests = RequestReader(max_bytes=settings.max_message_bytes)
        admission = Admission(
            max_in_flight=settings.max_in_flight,
            max_queue_seconds=settings.max_queue_seconds,
            queue_age=lambda: writer.queue_age,
            pressure=lambda: too_far_behind(settings.max_projection_lag, progress.positions, feed.head),
        )
        commands = [c for contract in contracts for c in contract.commands.values()]
        services = generic_handlers(
            commands, lambda contract: command_handler(contract, bus, requests, admission)
        )
        batches = BatchService(contracts=commands, bus=bus, requests=requests, admission=admission)
        services[batch_service.SERVICE] = batches.handlers()
        log = EventService(store=store, feed=feed, codec=codec, requests=requests)
        services[event_service.SERVICE] = log.handlers()
        config = _server_config(settings, settings.command_address)
        address = await stack.enter_async_context(
            serving(config, services, health, packages=_packages(contracts))
        )
        await health.set(services, True)
        await _until(stop, "command-server", address)


async def projector(settings: Settings, stop: asyncio.Event) -> None:
    """Fold events into the read models."""
    contexts = discover(settings.contexts)
    contracts = [contract for _, contract in contexts]
    async with AsyncExitStack() as stack:
        if settings.read_database_url.startswith("sqlite"):  # on PostgreSQL others may stand by
            stack.enter_context(lock_data_dir(settings.data_dir, "projector"))
        client = await stack.enter_async_context(nats_client(settings.nats_servers, name="twofold-projector"))
        event_log = await stack.enter_async_context(open_event_log(settings.command_address))
        database = await stack.enter_async_context(
            # What is lost on a power cut is folded again from the log.
            open_database(settings.read_database_url, synchronous="NORMAL", readers=1)
        )
        work = Projector(
            database=database,
            projections=[projection for context, _ in contexts for projection in context.projections],
            codec=EventCodec(contracts),
            log=event_log,
            hints=lambda: JetStreamHints(
                client=client, stream=STREAM, decode=recorded_event, source_of=source_of
            ),
            notices=ProgressNotices(client),
        )
        health = Health()
        config = _server_config(settings, settings.projector_address)
        address = await stack.enter_async_context(serving(config, {}, health, packages=_packages(contracts)))
        await stack.enter_async_context(_reporting(health, PROJECTOR_HEALTH, lambda: work.trouble))
        await _until(stop, "projector", address, work.run())


async def query_server(settings: Settings, stop: asyncio.Event) -> None:
    """Answer queries out of the read models."""
    contexts = discover(settings.contexts)
    contracts = [contract for _, contract in contexts]
    queries = find_queries(contexts)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            nats_client(settings.nats_servers, name="twofold-query-server")
        )
        store = await stack.enter_async_context(
            ReadStore(url=settings.read_database_url, is_prepared=is_prepared)
        )
        positions = Positions(store=store, read_checkpoint=read_checkpoint)
        stack.push_async_callback(positions.close)
        await stack.enter_async_context(hearing(client, notice_handlers(positions)))
        answers = Answers(store=store, positions=positions, queries=queries, read_checkpoint=read_checkpoint)
        admission = Admission(max_in_flight=settings.max_in_flight)
        bus = QueryBus(answers.answer, [logging_answers()])
        requests = RequestReader(max_bytes=settings.max_message_bytes)
        services = generic_handlers(
            (q for contract in contracts for q in contract.queries.values()),
            lambda contract: query_handler(contract, bus, requests, admission),
        )
        health = Health()
        config = _server_config(settings, settings.query_address)
        address = await stack.enter_async_context(
            serving(config, services, health, packages=_packages(contracts))
        )
        await stack.enter_async_context(_reporting(health, services, lambda: store.trouble))
        await _until(stop, "query-server", address)


async def _until(
    stop: asyncio.Event, role: str, address: str, work: Coroutine[Any, Any, None] | None = None
) -> None:
    """Wait until the process is told to stop; work that ends before takes the process along."""
    log = structlog.get_logger().bind(role=role)
    settle()
    log.info("serving", address=address)
    waiting = {asyncio.create_task(each) for each in (stop.wait(), work) if each is not None}
    done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    for task in done:
        task.result()


@asynccontextmanager
async def _reporting(
    health: Health, services: Iterable[str] | str, trouble: Callable[[], str]
) -> AsyncIterator[None]:
    """Keep the health of a server in step with the trouble that its parts tell of."""
    names = [services] if isinstance(services, str) else list(services)

    async def report() -> None:
        log = structlog.get_logger().bind()
        before = None
        while True:
            now = trouble()
            if now != before:
                await health.set(names, not now)
                if now:
                    log.warning("not serving", why=now)
            before = now
            await asyncio.sleep(HEALTH_SECONDS)

    task = asyncio.create_task(report())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _running(
    work: Coroutine[Any, Any, None], before_end: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[None]:
    """Run work beside the block; at its end give ``before_end`` a moment, then cancel the work."""
    task = asyncio.create_task(work)
    try:
        yield
        if before_end is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_MOMENT):
                    await before_end()
    finally:
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
