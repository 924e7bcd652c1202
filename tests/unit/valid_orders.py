"""Orders and changes of orders as callers may ask for them: each request passes the rules of the contract."""

from __future__ import annotations

from google.protobuf.message import Message
from hypothesis import strategies as st

from tests.unit.order_messages import add, cancel, change, complete, create, item, money, pay, remove, ship

products = st.sampled_from(["tea", "milk", "jam"])
quantities = st.one_of(st.integers(1, 3), st.just(1_000_000))
prices = st.builds(money, st.integers(0, 20), st.integers(0, 999_999_999), st.sampled_from(["EUR", "USD"]))
creations = st.lists(st.builds(item, products, quantities, prices), min_size=1, max_size=3).map(
    lambda items: create(*items)
)
changes: st.SearchStrategy[Message] = st.one_of(
    st.builds(add, products, quantities, prices),
    st.builds(remove, products),
    st.builds(change, products, quantities),
    st.sampled_from([pay(), ship(), complete(), cancel()]),
)
changes_of_orders = st.lists(changes, max_size=15)
