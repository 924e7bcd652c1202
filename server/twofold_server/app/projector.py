"""The projector, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from twofold_server.app.parts import noticing, proto_packages, reporting, running, server_config, until
from twofold_server.app.rebuild_crew import ProcessCrew
from twofold_server.broker import nats_client
from twofold_server.contexts import discover
from twofold_server.database import open_database
from twofold_server.database.replaced import until_replaced
from twofold_server.database.turns import open_turns
from twofold_server.errors import StartupError
from twofold_server.locking import lock_data_dir
from twofold_server.messages.contract import ContextContract
from twofold_server.messages.events import EventCodec
from twofold_server.modelling import Projection
from twofold_server.projections.event_log import open_event_log
from twofold_server.projections.jetstream import JetStreamHints
from twofold_server.projections.notices import ProgressNotices
from twofold_server.projections.parking import Patience
from twofold_server.projections.projector import HEALTH_NAME, Projector
from twofold_server.projections.proof.patrol import HEALTH_NAME as PROOF_HEALTH_NAME
from twofold_server.projections.proof.patrol import Patrol
from twofold_server.projections.proof.proofs import Proofs
from twofold_server.projections.retention import with_retention
from twofold_server.projections.strategies import strategies
from twofold_server.publishing.headers import recorded_event, source_of
from twofold_server.publishing.stream import STREAM
from twofold_server.rpc import projection_service
from twofold_server.rpc.dead_letters import DeadLetterOperations
from twofold_server.rpc.health import Health
from twofold_server.rpc.projection_builds import ProjectionBuilds
from twofold_server.rpc.projection_overview import ProjectionOverview
from twofold_server.rpc.projection_proof import ProjectionProof
from twofold_server.rpc.projection_service import ProjectionService
from twofold_server.rpc.requests import RequestReader
from twofold_server.rpc.server import serving
from twofold_server.settings import Settings


async def projector(settings: Settings, stop: asyncio.Event) -> None:
    """Fold events into the read models."""
    contexts = discover(settings.contexts)
    contracts = [contract for _, contract in contexts]
    projections = with_retention(
        [projection for context, _ in contexts for projection in context.projections], settings.retention
    )
    sync = strategies(settings.projection_sync, projections)
    projections = _wanted(settings, projections)
    async with AsyncExitStack() as stack:
        alone = settings.read_database_url.startswith("sqlite")  # on PostgreSQL others may stand by
        if alone:
            stack.enter_context(lock_data_dir(settings.data_dir, "projector"))
        client = await stack.enter_async_context(nats_client(settings.nats_servers, name="twofold-projector"))
        # What is lost on a power cut is folded again from the log, hence NORMAL.
        database = await stack.enter_async_context(
            open_database(settings.read_database_url, synchronous="NORMAL", readers=1)
        )
        log = await stack.enter_async_context(open_event_log(settings.command_address))
        codec, notices = EventCodec(contracts), ProgressNotices(client)
        work = Projector(
            database=database,
            projections=projections,
            codec=codec,
            log=log,
            hints=lambda: JetStreamHints(
                client=client, stream=STREAM, decode=recorded_event, source_of=source_of
            ),
            notices=notices,
            patience=_patience(settings),
            strategies=sync,
            turns=await stack.enter_async_context(open_turns(settings.read_database_url)),
            crew=ProcessCrew(settings),
            alone=alone,
        )
        proofs = Proofs(
            database=database,
            projections=projections,
            rules=[rule for context, _ in contexts for rule in context.rules],
            codec=codec,
            log=log,
            fold_of=work.fold_of,
            notices=notices,
        )
        address = await stack.enter_async_context(_answering_operators(settings, contracts, work, proofs))
        replaced = await stack.enter_async_context(noticing_replacement(settings.read_database_url, stop))
        await until(stop, "projector", address, work.run())
        if replaced:
            raise StartupError(replaced[0])


@asynccontextmanager
async def _answering_operators(
    settings: Settings, contracts: Sequence[ContextContract], work: Projector, proofs: Proofs
) -> AsyncIterator[str]:
    """Serve the ProjectionService and health, which the patrol adds to; the address."""
    patrol, health = Patrol(proofs.verifiers, rows_per_second=settings.verify_rows_per_second), Health()
    service = ProjectionService(
        requests=RequestReader(max_bytes=settings.max_message_bytes),
        parts=[
            ProjectionOverview(partial(patrol.noted, work.status)),
            DeadLetterOperations(work.redeliveries),
            ProjectionBuilds(work),
            ProjectionProof(proofs),
        ],
    )
    async with (
        serving(
            server_config(settings, settings.projector_address),
            {projection_service.SERVICE: service.handlers()},
            health,
            packages=proto_packages(contracts),
        ) as address,
        reporting(health, [HEALTH_NAME], lambda: work.trouble),
        running(patrol.run()),
        noticing(health, PROOF_HEALTH_NAME, lambda: patrol.trouble),
    ):
        # An operator is answered also, and above all, while the projector is in trouble.
        health.report(projection_service.SERVICE, True)
        yield address


@asynccontextmanager
async def noticing_replacement(url: str, stop: asyncio.Event) -> AsyncIterator[list[str]]:
    """Stop when the file of a database is replaced, for example by a backup; the list then says so."""
    told: list[str] = []

    async def watch() -> None:
        path = await until_replaced(url)
        told.append(f"the read database {path} was replaced while it was open; start the projector again")
        stop.set()

    async with running(watch()):
        yield told


def _wanted(settings: Settings, projections: Sequence[Projection]) -> list[Projection]:
    there_are = [projection.name for projection in projections]
    for name in settings.projections:
        if name not in there_are:
            raise StartupError(
                f"TWOFOLD_PROJECTIONS names the projection {name}; there are {', '.join(sorted(there_are))}"
            )
    return [each for each in projections if not settings.projections or each.name in settings.projections]


def _patience(settings: Settings) -> Patience:
    return Patience(
        attempts=settings.projection_attempts,
        pause=settings.projection_retry_seconds,
        max_pause=settings.projection_max_retry_seconds,
        max_parked=settings.projection_max_parked,
    )
