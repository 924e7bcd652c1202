"""The query services of all contexts, built from their descriptors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from twofold_server.messages.contract import QueryContract
from twofold_server.queries.bus import QueryBus
from twofold_server.queries.call import QueryCall
from twofold_server.queries.watching import Watches
from twofold_server.rpc import call_metadata as metadata_keys
from twofold_server.rpc.admission import Admission
from twofold_server.rpc.call_metadata import read_metadata
from twofold_server.rpc.guard import StreamHandler, UnaryHandler, guarded_stream, guarded_unary
from twofold_server.rpc.requests import RequestReader


def query_handler(
    contract: QueryContract, bus: QueryBus, requests: RequestReader, admission: Admission
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The handler of one query RPC."""

    async def handle(content: bytes, context: Any) -> bytes:
        with admission.admitted():
            answer = await bus.ask(_call(contract, requests, content, context))
        token = metadata_keys.TOKEN, answer.token
        context.set_trailing_metadata((token, metadata_keys.IS_STALE) if answer.stale else (token,))
        return answer.content

    requests.warm_up(contract.request)
    guarded: UnaryHandler = guarded_unary(handle, method=contract.method, domain=contract.package)
    return grpc.unary_unary_rpc_method_handler(guarded)


def watch_handler(
    contract: QueryContract, watches: Watches, requests: RequestReader, admission: Admission
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The handler of an RPC that watches a row; each call counts in ``admission`` as long as it lasts."""

    async def handle(content: bytes, context: Any) -> AsyncIterator[bytes]:
        with admission.admitted():
            async with aclosing(watches.watch(_call(contract, requests, content, context))) as answers:
                async for answer in answers:
                    yield answer

    requests.warm_up(contract.request)
    guarded: StreamHandler = guarded_stream(handle, method=contract.method, domain=contract.package)
    return grpc.unary_stream_rpc_method_handler(guarded)


def _call(contract: QueryContract, requests: RequestReader, content: bytes, context: Any) -> QueryCall:
    metadata = read_metadata(context)
    return QueryCall(
        contract=contract,
        request=requests.read(contract.request, content),
        correlation_id=metadata.get(metadata_keys.CORRELATION_ID, ""),
        actor=metadata.get(metadata_keys.ACTOR, ""),
        token=metadata.get(metadata_keys.TOKEN, ""),
        time_remaining=context.time_remaining(),
    )
