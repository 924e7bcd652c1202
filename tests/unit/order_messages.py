"""Commands and facts of orders for tests: whatever a test does not care about is filled in."""

from __future__ import annotations

from google.type.money_pb2 import Money

from shop.orders.v1 import command_service_pb2 as commands
from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.values_pb2 import Address, OrderItem

ORDER = "01932f0a-1111-7000-8000-000000000001"
ADDRESS = Address(recipient="Ada", line1="1 Main St", city="London", postal_code="E1", country_code="GB")


def money(units: int, nanos: int = 0, currency: str = "EUR") -> Money:
    """An amount."""
    return Money(currency_code=currency, units=units, nanos=nanos)


def item(product: str = "tea", quantity: int = 1, price: Money | None = None) -> OrderItem:
    """An item."""
    return OrderItem(product_id=product, quantity=quantity, unit_price=price or money(3))


def create(*items: OrderItem, order_id: str = ORDER) -> commands.CreateOrderRequest:
    """A request to create an order; of some tea unless items are given."""
    return commands.CreateOrderRequest(
        order_id=order_id, customer_id="ada", items=items or [item()], shipping_address=ADDRESS
    )


def add(
    product: str = "tea", quantity: int = 1, price: Money | None = None, order_id: str = ORDER
) -> commands.AddOrderItemRequest:
    """A request to add a product."""
    return commands.AddOrderItemRequest(
        order_id=order_id, product_id=product, quantity=quantity, unit_price=price or money(3)
    )


def remove(product: str = "tea", order_id: str = ORDER) -> commands.RemoveOrderItemRequest:
    """A request to take a product out."""
    return commands.RemoveOrderItemRequest(order_id=order_id, product_id=product)


def change(
    product: str = "tea", quantity: int = 1, order_id: str = ORDER
) -> commands.ChangeItemQuantityRequest:
    """A request to change a quantity."""
    return commands.ChangeItemQuantityRequest(order_id=order_id, product_id=product, quantity=quantity)


def pay(order_id: str = ORDER) -> commands.PayOrderRequest:
    """A request to pay."""
    return commands.PayOrderRequest(order_id=order_id, payment_reference="pay-1")


def ship(order_id: str = ORDER) -> commands.ShipOrderRequest:
    """A request to ship."""
    return commands.ShipOrderRequest(order_id=order_id, carrier="post", tracking_number="42")


def complete(order_id: str = ORDER) -> commands.CompleteOrderRequest:
    """A request to complete."""
    return commands.CompleteOrderRequest(order_id=order_id)


def cancel(reason: str = "changed my mind", order_id: str = ORDER) -> commands.CancelOrderRequest:
    """A request to cancel."""
    return commands.CancelOrderRequest(order_id=order_id, reason=reason)


def created(*items: OrderItem) -> facts.OrderCreated:
    """The order was created."""
    return facts.OrderCreated(
        order_id=ORDER, customer_id="ada", items=items or [item()], shipping_address=ADDRESS
    )


def added(product: str = "tea", quantity: int = 1, price: Money | None = None) -> facts.OrderItemAdded:
    """A product was added."""
    return facts.OrderItemAdded(
        order_id=ORDER, product_id=product, quantity=quantity, unit_price=price or money(3)
    )


def removed(product: str = "tea") -> facts.OrderItemRemoved:
    """A product was taken out."""
    return facts.OrderItemRemoved(order_id=ORDER, product_id=product)


def changed(product: str = "tea", quantity: int = 1) -> facts.OrderItemQuantityChanged:
    """A quantity was changed."""
    return facts.OrderItemQuantityChanged(order_id=ORDER, product_id=product, quantity=quantity)


def paid(amount: Money | None = None) -> facts.OrderPaid:
    """The order was paid."""
    return facts.OrderPaid(order_id=ORDER, payment_reference="pay-1", amount=amount or money(3))


def shipped() -> facts.OrderShipped:
    """The order was shipped."""
    return facts.OrderShipped(order_id=ORDER, carrier="post", tracking_number="42")


def completed() -> facts.OrderCompleted:
    """The order was completed."""
    return facts.OrderCompleted(order_id=ORDER)


def cancelled(reason: str = "changed my mind") -> facts.OrderCancelled:
    """The order was cancelled."""
    return facts.OrderCancelled(order_id=ORDER, reason=reason)
