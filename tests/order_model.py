"""What an order does, in the plainest terms: written from the contract, sharing nothing with the server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shop.orders.v1.values_pb2 import OrderStatus

PENDING, PAID, SHIPPED, COMPLETED, CANCELLED = (
    OrderStatus.ORDER_STATUS_PENDING,
    OrderStatus.ORDER_STATUS_PAID,
    OrderStatus.ORDER_STATUS_SHIPPED,
    OrderStatus.ORDER_STATUS_COMPLETED,
    OrderStatus.ORDER_STATUS_CANCELLED,
)
MOST = 1_000_000
"""Of one product in an order."""
MOST_PRODUCTS = 1_000


@dataclass
class OrderModel:
    """One order, told of one command after the other."""

    version: int = 0
    status: int = 0
    currency: str = ""
    quantities: dict[str, int] = field(default_factory=dict)
    """By product."""
    prices: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Units and nanos, by product."""

    def verdict(self, command: Any) -> str:
        """The reason for which a command is refused now; empty where it is accepted."""
        options = command.options
        if options.HasField("expected_version") and options.expected_version != self.version:
            return "VERSION_CONFLICT"
        method = method_of(command)
        if method == "CreateOrder":
            return "ORDER_ALREADY_EXISTS" if self.version else self._of_creation(command)
        if not self.version:
            return "ORDER_NOT_FOUND"
        reason: str = getattr(self, f"_of_{method}")(command)
        return reason

    def apply(self, command: Any) -> int:
        """Take an accepted command; how many events it makes."""
        before = dict(self.quantities)
        {"CreateOrder": self._create, "AddOrderItem": self._add}.get(method_of(command), self._change)(
            command
        )
        # Only a quantity can be set to what it is already.
        made = int(method_of(command) != "ChangeItemQuantity" or before != self.quantities)
        self.version += made
        return made

    @property
    def total(self) -> int:
        """The sum of all amounts, in billionths of the currency."""
        return sum(
            self.quantities[product] * (units * 10**9 + nanos)
            for product, (units, nanos) in self.prices.items()
        )

    def _of_creation(self, command: Any) -> str:
        if len({item.unit_price.currency_code for item in command.items}) > 1:
            return "MIXED_CURRENCIES"
        return "QUANTITY_TOO_LARGE" if max(_quantities(command.items).values()) > MOST else ""

    def _of_AddOrderItem(self, command: Any) -> str:  # noqa: N802 - named as the contract names it
        if self.status != PENDING:
            return "ORDER_NOT_PENDING"
        if command.unit_price.currency_code != self.currency:
            return "CURRENCY_MISMATCH"
        if command.product_id not in self.quantities and len(self.quantities) == MOST_PRODUCTS:
            return "TOO_MANY_ITEMS"
        sum_ = self.quantities.get(command.product_id, 0) + command.quantity
        return "QUANTITY_TOO_LARGE" if sum_ > MOST else ""

    def _of_RemoveOrderItem(self, command: Any) -> str:  # noqa: N802
        if self.status != PENDING:
            return "ORDER_NOT_PENDING"
        if command.product_id not in self.quantities:
            return "ITEM_NOT_IN_ORDER"
        return "LAST_ITEM" if len(self.quantities) == 1 else ""

    def _of_ChangeItemQuantity(self, command: Any) -> str:  # noqa: N802
        if self.status != PENDING:
            return "ORDER_NOT_PENDING"
        return "" if command.product_id in self.quantities else "ITEM_NOT_IN_ORDER"

    def _of_PayOrder(self, command: Any) -> str:  # noqa: N802
        return "" if self.status == PENDING else "ORDER_NOT_PENDING"

    def _of_ShipOrder(self, command: Any) -> str:  # noqa: N802
        return "" if self.status == PAID else "ORDER_NOT_PAID"

    def _of_CompleteOrder(self, command: Any) -> str:  # noqa: N802
        return "" if self.status == SHIPPED else "ORDER_NOT_SHIPPED"

    def _of_CancelOrder(self, command: Any) -> str:  # noqa: N802
        return "" if self.status in (PENDING, PAID) else "ORDER_NOT_CANCELLABLE"

    def _create(self, command: Any) -> None:
        self.status, self.currency = PENDING, command.items[0].unit_price.currency_code
        self.quantities = _quantities(command.items)
        self.prices = {
            item.product_id: (item.unit_price.units, item.unit_price.nanos) for item in command.items
        }

    def _add(self, command: Any) -> None:
        product, price = command.product_id, command.unit_price
        self.quantities[product] = self.quantities.get(product, 0) + command.quantity
        self.prices[product] = (price.units, price.nanos)

    def _change(self, command: Any) -> None:
        match method_of(command):
            case "RemoveOrderItem":
                del self.quantities[command.product_id], self.prices[command.product_id]
            case "ChangeItemQuantity":
                self.quantities[command.product_id] = command.quantity
            case "PayOrder":
                self.status = PAID
            case "ShipOrder":
                self.status = SHIPPED
            case "CompleteOrder":
                self.status = COMPLETED
            case "CancelOrder":
                self.status = CANCELLED


def method_of(command: Any) -> str:
    """The RPC of a command."""
    name: str = command.DESCRIPTOR.name
    return name.removesuffix("Request")


def _quantities(items: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in items:
        found[item.product_id] = found.get(item.product_id, 0) + item.quantity
    return found
