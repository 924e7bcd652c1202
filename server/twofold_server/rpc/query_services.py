"""The query services of all contexts, built from their descriptors."""

from __future__ import annotations

from typing import Any

import grpc

from twofold_server.messages.contract import QueryContract
from twofold_server.queries.bus import QueryBus
from twofold_server.queries.call import QueryCall
from twofold_server.rpc import call_metadata as metadata_keys
from twofold_server.rpc.admission import Admission
from twofold_server.rpc.call_metadata import read_metadata
from twofold_server.rpc.guard import UnaryHandler, guarded_unary
from twofold_server.rpc.requests import RequestReader


def query_handler(
    contract: QueryContract, bus: QueryBus, requests: RequestReader, admission: Admission
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The handler of one query RPC."""

    async def handle(content: bytes, context: Any) -> bytes:
        with admission.admitted():
            metadata = read_metadata(context)
            call = QueryCall(
                contract=contract,
                request=requests.read(contract.request, content),
                correlation_id=metadata.get(metadata_keys.CORRELATION_ID, ""),
                actor=metadata.get(metadata_keys.ACTOR, ""),
                token=metadata.get(metadata_keys.TOKEN, ""),
                time_remaining=context.time_remaining(),
            )
            answer = await bus.ask(call)
        token = metadata_keys.TOKEN, answer.token
        context.set_trailing_metadata((token, metadata_keys.IS_STALE) if answer.stale else (token,))
        return answer.content

    requests.warm_up(contract.request)
    guarded: UnaryHandler = guarded_unary(handle, method=contract.method, domain=contract.package)
    return grpc.unary_unary_rpc_method_handler(guarded)
