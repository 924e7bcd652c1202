"""What may be asked of an order, and what then happens.

Names on disk: the category ``order``. Each rejection is declared at its RPC in command_service.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.message import Message

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.values_pb2 import OrderItem, OrderStatus
from shop_contexts.orders.money import from_nanos
from shop_contexts.orders.state import Item, Order, evolve
from twofold_server.modelling import Decider, Given, InvalidRequest, Rejected

MAX_QUANTITY = 1_000_000
MAX_ITEMS = 1_000

Events = Sequence[Message]


def create(command: commands.CreateOrderRequest, order: Order, given: Given) -> Events:
    """The same product again adds up, at its last price; all prices are in one currency."""
    _check_one_currency(command.items)
    return [
        facts.OrderCreated(
            order_id=command.order_id,
            customer_id=command.customer_id,
            items=_each_product_once(command.items),
            shipping_address=command.shipping_address,
        )
    ]


def add_item(command: commands.AddOrderItemRequest, order: Order, given: Given) -> Events:
    """Only while PENDING, in the order's currency."""
    _check_pending(order)
    if command.unit_price.currency_code != order.currency:
        raise Rejected(
            "CURRENCY_MISMATCH",
            f"the order is in {order.currency}, the price in {command.unit_price.currency_code}",
            metadata={"order": order.currency, "price": command.unit_price.currency_code},
        )
    before = order.items.get(command.product_id)
    if before is None and len(order.items) >= MAX_ITEMS:
        raise Rejected("TOO_MANY_ITEMS", f"the order already has {MAX_ITEMS:,} different products")
    _check_quantity(command.product_id, command.quantity + (before.quantity if before else 0))
    return [
        facts.OrderItemAdded(
            order_id=command.order_id,
            product_id=command.product_id,
            quantity=command.quantity,
            unit_price=command.unit_price,
        )
    ]


def remove_item(command: commands.RemoveOrderItemRequest, order: Order, given: Given) -> Events:
    """Only while PENDING, and never the last one."""
    _check_pending(order)
    _item(order, command.product_id)
    if len(order.items) == 1:
        raise Rejected("LAST_ITEM", "the last item cannot be removed; cancel the order instead")
    return [facts.OrderItemRemoved(order_id=command.order_id, product_id=command.product_id)]


def change_quantity(command: commands.ChangeItemQuantityRequest, order: Order, given: Given) -> Events:
    """Only while PENDING; the quantity that it already has changes nothing."""
    _check_pending(order)
    if _item(order, command.product_id).quantity == command.quantity:
        return []
    return [
        facts.OrderItemQuantityChanged(
            order_id=command.order_id, product_id=command.product_id, quantity=command.quantity
        )
    ]


def pay(command: commands.PayOrderRequest, order: Order, given: Given) -> Events:
    """Only while PENDING; the whole total is paid."""
    _check_pending(order)
    amount = from_nanos(order.currency, order.total)
    return [
        facts.OrderPaid(order_id=command.order_id, payment_reference=command.payment_reference, amount=amount)
    ]


def ship(command: commands.ShipOrderRequest, order: Order, given: Given) -> Events:
    """Only when PAID."""
    _check_status(order, "ORDER_NOT_PAID", OrderStatus.ORDER_STATUS_PAID)
    return [
        facts.OrderShipped(
            order_id=command.order_id, carrier=command.carrier, tracking_number=command.tracking_number
        )
    ]


def complete(command: commands.CompleteOrderRequest, order: Order, given: Given) -> Events:
    """Only when SHIPPED."""
    _check_status(order, "ORDER_NOT_SHIPPED", OrderStatus.ORDER_STATUS_SHIPPED)
    return [facts.OrderCompleted(order_id=command.order_id)]


def cancel(command: commands.CancelOrderRequest, order: Order, given: Given) -> Events:
    """Until it is shipped."""
    allowed = OrderStatus.ORDER_STATUS_PENDING, OrderStatus.ORDER_STATUS_PAID
    _check_status(order, "ORDER_NOT_CANCELLABLE", *allowed)
    return [facts.OrderCancelled(order_id=command.order_id, reason=command.reason)]


def _check_one_currency(items: Sequence[OrderItem]) -> None:
    currency = items[0].unit_price.currency_code
    mixed = [n for n, item in enumerate(items) if item.unit_price.currency_code != currency]
    if mixed:
        raise InvalidRequest(
            f"all items must be priced in one currency; the first is in {currency}",
            violations=[
                (f"items[{n}].unit_price.currency_code", f"must be {currency}, like the first") for n in mixed
            ],
            reason="MIXED_CURRENCIES",
        )


def _each_product_once(items: Sequence[OrderItem]) -> Iterable[OrderItem]:
    if len({item.product_id for item in items}) == len(items):
        return items
    merged: dict[str, OrderItem] = {}
    for item in items:
        quantity = item.quantity
        if item.product_id in merged:
            quantity += merged[item.product_id].quantity
        _check_quantity(item.product_id, quantity)
        merged[item.product_id] = OrderItem(
            product_id=item.product_id, quantity=quantity, unit_price=item.unit_price
        )
    return merged.values()


def _check_status(order: Order, reason: str, *allowed: OrderStatus.ValueType) -> None:
    if order.status not in allowed:
        status, wanted = _word(order.status), " or ".join(_word(a) for a in allowed)
        raise Rejected(reason, f"the order is {status}; this needs {wanted}", metadata={"status": status})


def _check_pending(order: Order) -> None:
    _check_status(order, "ORDER_NOT_PENDING", OrderStatus.ORDER_STATUS_PENDING)


def _check_quantity(product_id: str, quantity: int) -> None:
    if quantity > MAX_QUANTITY:
        raise Rejected(
            "QUANTITY_TOO_LARGE",
            f"the quantities of {product_id} add up to {quantity:,}; {MAX_QUANTITY:,} is the most",
            metadata={"product_id": product_id, "quantity": str(quantity)},
        )


def _item(order: Order, product_id: str) -> Item:
    item = order.items.get(product_id)
    if item is None:
        raise Rejected(
            "ITEM_NOT_IN_ORDER", f"the order has no product {product_id}", metadata={"product_id": product_id}
        )
    return item


def _word(status: OrderStatus.ValueType) -> str:
    return OrderStatus.Name(status).removeprefix("ORDER_STATUS_")


order = Decider(
    category="order",
    initial_state=Order,
    decide={
        commands.CreateOrderRequest: create,
        commands.AddOrderItemRequest: add_item,
        commands.RemoveOrderItemRequest: remove_item,
        commands.ChangeItemQuantityRequest: change_quantity,
        commands.PayOrderRequest: pay,
        commands.ShipOrderRequest: ship,
        commands.CompleteOrderRequest: complete,
        commands.CancelOrderRequest: cancel,
    },
    evolve=evolve,
)
