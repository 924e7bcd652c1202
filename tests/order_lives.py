"""Random lives of orders, side by side, and what their sums must be: counted in the plainest way."""

from __future__ import annotations

import random
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.type.money_pb2 import Money

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.values_pb2 import OrderItem
from tests.order_histories import START, History

HOUR = 3_600_000_000


@dataclass
class Life:
    """One order, told apart from the server's code."""

    created: str
    currency: str
    items: dict[str, tuple[int, int]]
    """Quantity and price in billionths, by product."""
    paid: str = ""
    shipped: bool = False
    cancelled: bool = False


@dataclass
class Lives:
    """A history that grows, and each order's life."""

    history: History = field(default_factory=History)
    lives: dict[str, Life] = field(default_factory=dict)

    def grow(
        self, count: int, *, seed: int, hours: int = 30, products: str = "abcde", start: int = START
    ) -> None:
        """So many random events, on average ``hours`` / 2 apart."""
        dice = random.Random(seed)
        now = start
        for _ in range(count):
            now += dice.randrange(hours * HOUR + 1)
            unshipped = [key for key, life in self.lives.items() if not (life.shipped or life.cancelled)]
            if not unshipped or dice.random() < 0.3:
                self._create(now, dice, products)
            else:
                self._go_on(dice.choice(unshipped), now, dice, products)

    def _create(self, now: int, dice: random.Random, products: str) -> None:
        order_id, currency = str(uuid.UUID(int=dice.getrandbits(128))), dice.choice(["EUR", "USD"])
        items = {p: (dice.randint(1, 9), _price(dice)) for p in dice.sample(products, dice.randint(1, 3))}
        self.lives[order_id] = Life(_day(now), currency, items)
        shown = [
            OrderItem(product_id=p, quantity=q, unit_price=_money(currency, n)) for p, (q, n) in items.items()
        ]
        fact = facts.OrderCreated(order_id=order_id, customer_id=dice.choice("xyz"), items=shown)
        self.history.add(fact, recorded_at=now)

    def _go_on(self, order_id: str, now: int, dice: random.Random, products: str) -> None:
        life = self.lives[order_id]
        if life.paid:
            kinds = ["ship", "cancel"]
        else:
            kinds = ["add", "change", "pay", "pay", "cancel", *(["remove"] if len(life.items) > 1 else [])]
        fact: Any
        match dice.choice(kinds):
            case "add":
                product, quantity, price = dice.choice(products), dice.randint(1, 9), _price(dice)
                life.items[product] = (quantity + life.items.get(product, (0, 0))[0], price)
                fact = facts.OrderItemAdded(
                    product_id=product, quantity=quantity, unit_price=_money(life.currency, price)
                )
            case "change":
                product, quantity = dice.choice(sorted(life.items)), dice.randint(1, 1_000_000)
                life.items[product] = (quantity, life.items[product][1])
                fact = facts.OrderItemQuantityChanged(product_id=product, quantity=quantity)
            case "remove":
                product = dice.choice(sorted(life.items))
                del life.items[product]
                fact = facts.OrderItemRemoved(product_id=product)
            case "pay":
                life.paid = _day(now)
                fact = facts.OrderPaid(payment_reference="card")
            case "ship":
                life.shipped = True
                fact = facts.OrderShipped(carrier="post")
            case _:
                life.cancelled = True
                fact = facts.OrderCancelled(reason="changed my mind")
        fact.order_id = order_id
        self.history.add(fact, recorded_at=now)

    def monthly(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Quantity and amount in billionths by month, product and currency."""
        sums: dict[tuple[str, str, str], tuple[int, int]] = {}
        for life in self._sold():
            for product, (quantity, price) in life.items.items():
                key = life.paid[:7], product, life.currency
                before = sums.get(key, (0, 0))
                sums[key] = before[0] + quantity, before[1] + quantity * price
        return sums

    def daily(self) -> dict[str, tuple[int, int, int]]:
        """Orders, cancelled ones and paid ones by day."""
        found: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for life in self.lives.values():
            found[life.created][life.cancelled] += 1
            if life.paid:
                found[life.paid][2] += not life.cancelled
        return {day: (a, b, c) for day, (a, b, c) in found.items()}

    def amounts(self) -> Counter[tuple[str, str]]:
        """Billionths by day and currency."""
        found: Counter[tuple[str, str]] = Counter()
        for life in self._sold():
            found[life.paid, life.currency] += sum(q * price for q, price in life.items.values())
        return found

    def top(self, day: str, count: int) -> list[tuple[str, int]]:
        """The products that were sold most on a day."""
        found: Counter[str] = Counter()
        for life in self._sold():
            if life.paid == day:
                found.update({product: quantity for product, (quantity, _) in life.items.items()})
        return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:count]

    def _sold(self) -> list[Life]:
        return [life for life in self.lives.values() if life.paid and not life.cancelled]


def _price(dice: random.Random) -> int:
    return dice.choice([0, 1, 3_500_000_000, 999_999_999_999_999_999, dice.randrange(10**12)])


def _money(currency: str, nanos: int) -> Money:
    return Money(currency_code=currency, units=nanos // 10**9, nanos=nanos % 10**9)


def _day(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).date().isoformat()
