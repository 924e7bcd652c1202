"""What happened to an order, told from its events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from google.type.money_pb2 import Money

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.query_service_pb2 import GetOrderHistoryRequest, GetOrderHistoryResponse, OrderEvent
from shop.orders.v1.views_pb2 import Order
from shop_contexts.orders.money import total
from shop_contexts.orders.views import apply, timestamp
from twofold_server.modelling import Event, HistoryQuery, InvalidRequest, NotFound, page_of

Events = Sequence[Event[Any]]


def get_order_history(request: GetOrderHistoryRequest, events: Events) -> GetOrderHistoryResponse:
    """A page of the events, and the order after the last of those that count."""
    counted = _up_to(request, events)
    page = page_of(request)
    first = _after(page.after) + page.skip
    shown = counted[first : first + page.size]
    order = Order()
    for event in counted:
        apply(order, event)
    more = first + page.size < len(counted)
    return GetOrderHistoryResponse(
        events=[_told(event) for event in shown],
        order=order,
        next_page_token=page.next_token([str(shown[-1].stream_version)]) if more else "",
        total_size=len(counted),
    )


def _up_to(request: GetOrderHistoryRequest, events: Events) -> Events:
    order_id = request.order_id
    match request.WhichOneof("as_of"):
        case "version" if events and request.version > len(events):
            raise NotFound(
                f"order {order_id} has {len(events)} versions, not {request.version}",
                reason="ORDER_VERSION_NOT_FOUND",
                metadata={"order_id": order_id, "version": str(len(events))},
            )
        case "version":
            events = events[: request.version]
        case "time":
            asked = request.time.seconds, request.time.nanos
            events = [event for event in events if _moment(event) <= asked]
    if not events:
        raise NotFound(
            f"no order {order_id}" + (" at that time" if request.HasField("time") else ""),
            reason="ORDER_NOT_FOUND",
            metadata={"order_id": order_id},
        )
    return events


def _moment(event: Event[Any]) -> tuple[int, int]:
    at = timestamp(event.recorded_at)
    return at.seconds, at.nanos


def _after(keys: tuple[str, ...]) -> int:
    if not keys:
        return 0
    if len(keys) != 1 or not keys[0].isdecimal():
        raise InvalidRequest("page_token is damaged; start without a token", reason="INVALID_PAGE_TOKEN")
    return int(keys[0])


def _told(event: Event[Any]) -> OrderEvent:
    told = OrderEvent(
        version=event.stream_version,
        time=timestamp(event.recorded_at),
        summary=summaries[type(event.data)](event.data),
        actor=event.metadata.actor,
        correlation_id=event.metadata.correlation_id,
        causation_id=event.metadata.causation_id,
        event_id=event.event_id,
        position=event.position,
    )
    told.event.Pack(event.data)
    return told


def _created(fact: facts.OrderCreated) -> str:
    count = len(fact.items)
    products = "1 product" if count == 1 else f"{count} products"
    return f"created by customer {fact.customer_id} with {products} for {_in_words(total(fact.items))}"


def _cancelled(fact: facts.OrderCancelled) -> str:
    return f"cancelled: {fact.reason}" if fact.reason else "cancelled"


def _in_words(money: Money) -> str:
    decimals = f"{money.nanos:09}".rstrip("0").ljust(2, "0")
    return f"{money.units}.{decimals} {money.currency_code}"


summaries: Mapping[type[Message], Callable[[Any], str]] = {
    facts.OrderCreated: _created,
    facts.OrderItemAdded: lambda fact: (
        f"{fact.quantity} of {fact.product_id} added at {_in_words(fact.unit_price)} each"
    ),
    facts.OrderItemRemoved: lambda fact: f"{fact.product_id} removed",
    facts.OrderItemQuantityChanged: lambda fact: f"quantity of {fact.product_id} set to {fact.quantity}",
    facts.OrderPaid: lambda fact: f"paid {_in_words(fact.amount)} with {fact.payment_reference}",
    facts.OrderShipped: lambda fact: f"shipped with {fact.carrier}, number {fact.tracking_number}",
    facts.OrderCompleted: lambda fact: "completed",
    facts.OrderCancelled: _cancelled,
}
"""Each event in words."""

history_queries = (
    HistoryQuery(
        request=GetOrderHistoryRequest,
        stream_of=lambda request: f"order-{request.order_id}",
        answer=get_order_history,
    ),
)
"""GetOrderHistory."""
