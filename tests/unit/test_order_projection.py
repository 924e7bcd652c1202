"""What the read model of orders shows after each fact."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from shop.orders.v1 import events_pb2 as facts
from shop.orders.v1.values_pb2 import OrderStatus
from shop.orders.v1.views_pb2 import Order, OrderItemView, Payment, Shipment
from tests.order_histories import ADDRESS, START, History, euros, folded, item


@pytest.fixture
def history() -> History:
    return History()


def shown(history: History, order_id: str) -> Order:
    return folded(history.events)[order_id]


def at(position: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(START + position * 1_000_000)
    return moment


def test_a_created_order_is_shown_whole(history: History) -> None:
    order_id = history.created(customer_id="bob", items=[item("tea", 2, "3.50"), item("pot", 1, "20")])
    assert shown(history, order_id) == Order(
        order_id=order_id,
        customer_id="bob",
        status=OrderStatus.ORDER_STATUS_PENDING,
        items=[
            OrderItemView(product_id="tea", quantity=2, unit_price=euros("3.5"), amount=euros("7")),
            OrderItemView(product_id="pot", quantity=1, unit_price=euros("20"), amount=euros("20")),
        ],
        total=euros("27"),
        shipping_address=ADDRESS,
        create_time=at(1),
        update_time=at(1),
        version=1,
    )


def test_a_new_product_goes_last(history: History) -> None:
    order_id = history.created(items=[item("tea", 2, "3.50")])
    history.add(
        facts.OrderItemAdded(order_id=order_id, product_id="cup", quantity=4, unit_price=euros("0.10"))
    )
    order = shown(history, order_id)
    assert [(i.product_id, i.quantity) for i in order.items] == [("tea", 2), ("cup", 4)]
    assert order.total == euros("7.4")
    assert order.version == 2
    assert order.update_time == at(2)


def test_the_same_product_adds_up_at_the_newest_price(history: History) -> None:
    order_id = history.created(items=[item("tea", 2, "3.50"), item("pot", 1, "20")])
    history.add(facts.OrderItemAdded(order_id=order_id, product_id="tea", quantity=1, unit_price=euros("3")))
    order = shown(history, order_id)
    assert [(i.product_id, i.quantity, i.amount) for i in order.items] == [
        ("tea", 3, euros("9")),
        ("pot", 1, euros("20")),
    ]
    assert order.total == euros("29")


def test_a_removed_product_is_gone_from_the_total(history: History) -> None:
    order_id = history.created(items=[item("tea", 2, "3.50"), item("pot", 1, "20")])
    history.add(facts.OrderItemRemoved(order_id=order_id, product_id="tea"))
    order = shown(history, order_id)
    assert [i.product_id for i in order.items] == ["pot"]
    assert order.total == euros("20")


def test_a_changed_quantity_keeps_the_price(history: History) -> None:
    order_id = history.created(items=[item("tea", 2, "3.333333333")])
    history.add(facts.OrderItemQuantityChanged(order_id=order_id, product_id="tea", quantity=1_000_000))
    order = shown(history, order_id)
    assert order.items[0].amount == order.total == euros("3333333.333")


def test_the_way_of_an_order_to_its_customer(history: History) -> None:
    order_id = history.created()
    history.paid(order_id)
    history.shipped(order_id)
    history.add(facts.OrderCompleted(order_id=order_id))
    order = shown(history, order_id)
    assert order.status == OrderStatus.ORDER_STATUS_COMPLETED
    assert order.payment == Payment(reference="pay-1", amount=euros("7"))
    assert order.shipment == Shipment(carrier="post", tracking_number="1")
    times = [order.create_time, order.pay_time, order.ship_time, order.complete_time, order.update_time]
    assert times == [at(1), at(2), at(3), at(4), at(4)]
    assert not order.HasField("cancel_time")
    assert order.version == 4


def test_a_cancelled_order_says_why(history: History) -> None:
    order_id = history.created()
    history.add(facts.OrderCancelled(order_id=order_id, reason="found it cheaper"))
    order = shown(history, order_id)
    assert order.status == OrderStatus.ORDER_STATUS_CANCELLED
    assert order.cancellation_reason == "found it cheaper"
    assert order.cancel_time == at(2)


def test_a_fact_about_an_order_that_is_not_there_is_refused(history: History) -> None:
    history.paid("nobody")
    with pytest.raises(LookupError, match="no row for order nobody"):
        folded(history.events)
