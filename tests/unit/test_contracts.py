"""What the descriptors of a context must say; a mistake stops the server at start and names its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from tests.unit.contracts import Spoilt, read_spoilt
from twofold.v1 import options_pb2 as options
from twofold_server.errors import StartupError
from twofold_server.messages.contract import read_contract

COMMANDS = {
    "CreateOrder",
    "AddOrderItem",
    "RemoveOrderItem",
    "ChangeItemQuantity",
    "PayOrder",
    "ShipOrder",
    "CompleteOrder",
    "CancelOrder",
}


def test_the_contract_of_the_orders_is_read_from_its_descriptors() -> None:
    contract = read_contract("shop.orders.v1")
    assert {c.method for c in contract.commands.values()} == COMMANDS
    assert {e.type_name.rpartition(".")[2] for e in contract.events.values()} == {
        "OrderCreated",
        "OrderItemAdded",
        "OrderItemRemoved",
        "OrderItemQuantityChanged",
        "OrderPaid",
        "OrderShipped",
        "OrderCompleted",
        "OrderCancelled",
    }
    reads = {q.method: q.projection or "the log" for q in contract.queries.values()}
    assert reads["GetOrder"] == reads["WatchOrder"] == "orders"
    assert reads["GetOrderHistory"] == "the log"
    assert {q.method for q in contract.queries.values() if q.streams} == {"WatchOrder"}
    assert set(contract.services) == {"shop.orders.v1.CommandService", "shop.orders.v1.QueryService"}


def test_a_command_knows_its_place_its_aggregate_and_its_rejections() -> None:
    command = read_contract("shop.orders.v1").commands["shop.orders.v1.ShipOrderRequest"]
    assert (command.service, command.method) == ("shop.orders.v1.CommandService", "ShipOrder")
    assert (command.package, command.aggregate_field) == ("shop.orders.v1", "order_id")
    assert command.existence == options.EXISTENCE_MUST_EXIST
    assert command.rejections == {"ORDER_NOT_PAID"}


def test_a_package_without_generated_code_says_what_to_do() -> None:
    with pytest.raises(
        StartupError, match=r"no generated code for proto package shop\.nothing.*make generate"
    ):
        read_contract("shop.nothing.v1")


def test_a_contract_that_is_spoilt_in_no_way_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(read_spoilt(monkeypatch, lambda spoilt: None).commands) == len(COMMANDS)


def no_option(spoilt: Spoilt) -> None:
    spoilt.method("PayOrder").options.ClearExtension(options.command)


def both_options(spoilt: Spoilt) -> None:
    spoilt.method("PayOrder").options.Extensions[options.query].projection = "orders"


def no_existence(spoilt: Spoilt) -> None:
    spoilt.method("PayOrder").options.Extensions[options.command].ClearField("existence")


def no_projection(spoilt: Spoilt) -> None:
    spoilt.method("GetOrder").options.Extensions[options.query].Clear()


def no_aggregate_id(spoilt: Spoilt) -> None:
    spoilt.field("PayOrderRequest", "order_id").options.ClearExtension(options.aggregate_id)


def two_aggregate_ids(spoilt: Spoilt) -> None:
    spoilt.field("PayOrderRequest", "payment_reference").options.Extensions[options.aggregate_id] = True


def an_aggregate_id_that_is_a_number(spoilt: Spoilt) -> None:
    field = spoilt.field("PayOrderRequest", "order_id")
    field.type = FieldDescriptorProto.TYPE_INT64


def a_request_id_that_is_a_number(spoilt: Spoilt) -> None:
    spoilt.field("PayOrderRequest", "request_id").type = FieldDescriptorProto.TYPE_INT64


def a_receipt_of_another_type(spoilt: Spoilt) -> None:
    spoilt.field("PayOrderResponse", "receipt").type_name = ".twofold.v1.CommandOptions"


def a_request_of_two_commands(spoilt: Spoilt) -> None:
    spoilt.method("PayOrder").input_type = ".shop.orders.v1.ShipOrderRequest"


def a_stream_of_commands(spoilt: Spoilt) -> None:
    spoilt.method("PayOrder").client_streaming = True


def no_revision(spoilt: Spoilt) -> None:
    spoilt.message("OrderPaid").options.Extensions[options.event].Clear()


def without(message: str, field: str) -> Callable[[Spoilt], None]:
    return lambda spoilt: spoilt.without_field(message, field)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_option, "CommandService.PayOrder has neither the option"),
        (both_options, "CommandService.PayOrder has neither .* or both"),
        (no_existence, "CommandService.PayOrder does not say `existence`"),
        (no_projection, "QueryService.GetOrder does not say `projection`"),
        (no_aggregate_id, "PayOrderRequest marks 0 fields with twofold.v1.aggregate_id"),
        (two_aggregate_ids, "PayOrderRequest marks 2 fields with twofold.v1.aggregate_id"),
        (an_aggregate_id_that_is_a_number, "PayOrder needs a field `string order_id`"),
        (a_request_id_that_is_a_number, "PayOrder needs a field `string request_id`"),
        (a_receipt_of_another_type, "PayOrder needs a field `twofold.v1.Receipt receipt`"),
        (without("PayOrderResponse", "receipt"), "PayOrder needs a field `twofold.v1.Receipt receipt`"),
        (without("PayOrderRequest", "options"), "PayOrder needs a field `twofold.v1.CommandOptions options`"),
        (without("PayOrderRequest", "request_id"), "PayOrder needs a field `string request_id`"),
        (
            without("GetOrderRequest", "read_options"),
            "GetOrder needs a field `twofold.v1.ReadOptions read_options`",
        ),
        (without("GetOrderResponse", "read_info"), "GetOrder needs a field `twofold.v1.ReadInfo read_info`"),
        (a_request_of_two_commands, "PayOrder.*ShipOrder|ShipOrder.*PayOrder"),
        (a_stream_of_commands, "PayOrder"),
        (no_revision, "event shop.orders.v1.OrderPaid needs a revision"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_mistake_in_the_contract_stops_the_start_and_names_its_place(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Spoilt], Any], told: str
) -> None:
    with pytest.raises(StartupError, match=told) as refusal:
        read_spoilt(monkeypatch, spoil)
    assert "\n" not in str(refusal.value)
