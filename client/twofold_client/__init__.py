"""The Python client of Twofold: channels that carry the consistency token, and errors with their details.

async with connect("127.0.0.1:50051", "127.0.0.1:50052", actor="alice") as client:
    orders, views = client.stub(CommandServiceStub), client.stub(QueryServiceStub)
    created = await orders.CreateOrder(CreateOrderRequest(...))
    shown = await views.GetOrder(GetOrderRequest(order_id=created.receipt.aggregate_id))  # never stale
"""

from twofold_client.connection import Client, ClientConfig, connect
from twofold_client.errors import CallError, Violation, error_of
from twofold_client.request_ids import request_id
from twofold_client.session import Session

__all__ = ["CallError", "Client", "ClientConfig", "Session", "Violation", "connect", "error_of", "request_id"]
