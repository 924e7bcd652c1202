"""The query server, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import grpc

from twofold_server.app.parts import proto_packages, reporting, running, server_config, until
from twofold_server.broker import hearing, nats_client
from twofold_server.contexts import Found, discover
from twofold_server.messages.contract import QueryContract
from twofold_server.messages.events import EventCodec
from twofold_server.projections.checkpoints import read_standing
from twofold_server.projections.schema import is_prepared
from twofold_server.queries.answers import Answers
from twofold_server.queries.bus import Middleware, QueryBus, find_queries
from twofold_server.queries.cache.caching import Caching
from twofold_server.queries.cache.changes import Changes
from twofold_server.queries.cache.metrics import CacheMetrics
from twofold_server.queries.cache.plans import find_plans
from twofold_server.queries.cache.shared import redis_level
from twofold_server.queries.histories import answering_from_log
from twofold_server.queries.middleware import logging_answers
from twofold_server.queries.notices import notice_handlers
from twofold_server.queries.positions import Positions
from twofold_server.queries.read_store import ReadStore
from twofold_server.queries.snapshot_reads import SnapshotReads
from twofold_server.queries.stream_log import open_stream_log
from twofold_server.queries.versions import ReadModelVersions
from twofold_server.queries.watching import Watches
from twofold_server.rpc.admission import Admission
from twofold_server.rpc.command_services import generic_handlers
from twofold_server.rpc.health import Health
from twofold_server.rpc.query_services import query_handler, watch_handler
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.server import serving
from twofold_server.settings import Settings


async def query_server(settings: Settings, stop: asyncio.Event) -> None:
    """Answer queries out of the read models."""
    contexts = discover(settings.contexts)
    contracts = [contract for _, contract in contexts]
    queries = find_queries(contexts)
    async with AsyncExitStack() as stack:
        changes = Changes()
        client = await stack.enter_async_context(
            nats_client(settings.nats_servers, name="twofold-query-server", on_loss=changes.deafened)
        )
        store = await stack.enter_async_context(
            ReadStore(url=settings.read_database_url, is_prepared=is_prepared)
        )
        positions = Positions(store=store, read_checkpoint=read_standing)
        stack.push_async_callback(positions.close)
        await stack.enter_async_context(hearing(client, notice_handlers(positions, changes.heard)))
        versions = ReadModelVersions(_versions(contexts), read_standing)
        await stack.enter_async_context(running(versions.watch(store)))
        reads = SnapshotReads(store=store, positions=positions, read_checkpoint=versions.read)
        cache = await _open_cache(stack, settings, contexts, changes, positions)
        log = await stack.enter_async_context(open_stream_log(settings.command_address))
        histories = answering_from_log(log, EventCodec(contracts), queries)
        bus = QueryBus(Answers(reads, queries).answer, [logging_answers(), histories, *cache])
        watches = Watches(reads, queries, stopping=stop)
        requests = RequestReader(max_bytes=settings.max_message_bytes)
        admission = Admission(max_in_flight=settings.max_in_flight)
        watchers = Admission(max_in_flight=settings.max_watchers)

        def handler(contract: QueryContract) -> grpc.RpcMethodHandler[bytes, bytes]:
            if contract.streams:
                return watch_handler(contract, watches, requests, watchers)
            return query_handler(contract, bus, requests, admission)

        services = generic_handlers((q for contract in contracts for q in contract.queries.values()), handler)
        health = Health()
        config = server_config(settings, settings.query_address)
        address = await stack.enter_async_context(
            serving(config, services, health, packages=proto_packages(contracts))
        )
        await stack.enter_async_context(
            reporting(health, services, lambda: store.trouble or versions.trouble)
        )
        await until(stop, "query-server", address)


def _versions(contexts: Sequence[Found]) -> dict[str, int]:
    return {each.name: each.version for context, _ in contexts for each in context.projections}


async def _open_cache(
    stack: AsyncExitStack,
    settings: Settings,
    contexts: Sequence[Found],
    changes: Changes,
    positions: Positions,
) -> Sequence[Middleware]:
    if settings.cache == "off":
        return ()
    shared = None
    if settings.cache == "redis":
        shared = await stack.enter_async_context(redis_level(settings.cache_url, ttl=settings.cache_ttl))
    metrics = CacheMetrics()
    await stack.enter_async_context(running(metrics.run()))
    caching = Caching(
        plans=find_plans(contexts),
        changes=changes,
        positions=positions,
        metrics=metrics,
        entries=settings.cache_entries,
        ttl=settings.cache_ttl,
        shared=shared,
    )
    return [caching.answer]
