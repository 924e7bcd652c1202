"""Whether the log and the read model of a cluster are what callers were told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from shop.orders.v1.query_service_pb2 import ListCustomerOrdersRequest
from shop.orders.v1.views_pb2 import OrderSummary
from tests.e2e.cluster.importer import Importer
from tests.e2e.cluster.spread import Told
from tests.e2e.conditions import until
from tests.e2e.drill.audit import Findings
from tests.order_model import OrderModel
from twofold.v1.event_service_pb2 import ReadEventsRequest


class Cause(NamedTuple):
    """Why an event was recorded."""

    causation_id: str


class Fact(NamedTuple):
    """What the audit needs of an event, so that a million of them fit in memory."""

    position: int
    stream_name: str
    stream_version: int
    event_id: str
    metadata: Cause


async def read_log(events: Any) -> list[Fact]:
    """The whole log, by a stub of EventService."""
    return [
        Fact(e.position, e.stream_name, e.stream_version, e.event_id, Cause(e.metadata.causation_id))
        async for answer in events.ReadEvents(ReadEventsRequest(), wait_for_ready=True)
        for e in answer.events
    ]


def audit_orders(
    told: Sequence[Told],
    shared: Mapping[str, Any],
    importers: Sequence[Importer],
    rows: Mapping[str, OrderSummary],
) -> Findings:
    """Every order as it follows from what callers were told, against the row of the read model.

    ``shared`` holds the creating request of each order that several callers change.
    """
    models, disputes = _of_shared(told, shared)
    for each in told:
        models |= each.models
    for importer in importers:
        models |= dict.fromkeys(importer.orders, importer.model())
    return {
        "answers that the model does not give": disputes + sum(len(each.disputes) for each in told),
        "orders that are not as callers were told": sum(
            _differs(models[key], rows.get(key)) for key in models
        ),
        "orders that nobody was told of": len(rows.keys() - models.keys()),
    }


def _of_shared(told: Iterable[Told], shared: Mapping[str, Any]) -> tuple[dict[str, OrderModel], int]:
    """The shared orders, and how often what was accepted cannot follow on what was accepted before."""
    models = {key: OrderModel() for key in shared}
    disputes = 0
    for key, create in shared.items():
        models[key].apply(create)
    accepted = sorted((pair for each in told for pair in each.accepted.values()), key=lambda pair: pair[0])
    for version, request in accepted:
        model = models[request.order_id]
        disputes += bool(model.verdict(request))
        model.apply(request)
        disputes += model.version != version
    return models, disputes


def _differs(model: OrderModel, row: OrderSummary | None) -> bool:
    if row is None:
        return True
    shown = (row.version, row.status, row.item_count, row.total.units * 10**9 + row.total.nanos)
    return shown != (model.version, model.status, len(model.quantities), model.total)


async def rows_of(queries: Any, customers: Iterable[str], *, head: int) -> dict[str, OrderSummary]:
    """All orders of the customers, as the query server shows them once it knows the log up to ``head``."""
    await until(lambda: _knows(queries, head), "the read model knows the whole log", seconds=600)
    return {order.order_id: order for customer in customers async for order in _orders_of(queries, customer)}


async def _knows(queries: Any, head: int) -> bool:
    answer = await queries.ListCustomerOrders(
        ListCustomerOrdersRequest(customer_id="x", page_size=1), wait_for_ready=True
    )
    known: int = answer.read_info.position
    return known >= head


async def _orders_of(queries: Any, customer: str) -> AsyncIterator[OrderSummary]:
    page = ListCustomerOrdersRequest(customer_id=customer, page_size=1000)
    while True:
        answer = await queries.ListCustomerOrders(page)
        for order in answer.orders:
            yield order
        if not answer.next_page_token:
            return
        page.page_token = answer.next_page_token
