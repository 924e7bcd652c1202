"""Money is exact, whatever is done to it."""

from __future__ import annotations

from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from shop.orders.v1.values_pb2 import OrderItem
from shop_contexts.orders.money import from_nanos, to_nanos, total

amounts = st.integers(min_value=-(10**27), max_value=10**27)


@given(amounts)
def test_an_amount_comes_back_from_nanos(nanos: int) -> None:
    assert to_nanos(from_nanos("EUR", nanos)) == nanos


@given(amounts)
def test_units_and_nanos_have_one_sign(nanos: int) -> None:
    money = from_nanos("EUR", nanos)
    assert money.units * money.nanos >= 0
    assert abs(money.nanos) < 10**9


def test_three_times_ten_cents_are_thirty_cents() -> None:
    three = OrderItem(quantity=3, unit_price=Money(currency_code="EUR", nanos=100_000_000))
    assert total([three]) == Money(currency_code="EUR", nanos=300_000_000)


def test_the_largest_order_fits() -> None:
    dearest = Money(currency_code="EUR", units=10**9)
    items = [OrderItem(product_id=str(n), quantity=10**6, unit_price=dearest) for n in range(1000)]
    assert total(items) == Money(currency_code="EUR", units=10**18)


def test_nothing_costs_nothing() -> None:
    assert total([]) == Money()
