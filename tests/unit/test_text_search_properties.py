"""Whatever a person types, a search answers, and finds what holds it."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert, text

from shop.orders.v1.query_service_pb2 import SearchOrdersRequest
from shop_contexts.orders.search_projection import order_search_projection
from shop_contexts.orders.search_queries import search_orders
from shop_contexts.orders.search_tables import OrderTextRow
from twofold_server.modelling import text_search
from twofold_server.modelling.text_index import indexed, pieces_of, searchable
from twofold_server.projections.schema import prepare

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        prepare(connection, [order_search_projection])
        yield connection
    engine.dispose()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=TEXTS)
def test_no_text_is_an_error(connection: Connection, query: str) -> None:
    with patch.object(text_search, "FEW", -1), patch.object(text_search, "WALK", 0):  # so walked and asked
        assert search_orders(SearchOrdersRequest(query=query), connection).total_size == 0


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=TEXTS, piece=TEXTS, after=TEXTS)
def test_a_text_is_found_by_each_word_of_it(
    connection: Connection, before: str, piece: str, after: str
) -> None:
    connection.execute(text("DELETE FROM order_search_text"))
    connection.execute(insert(OrderTextRow).values(rowid=1, words=searchable(before, piece, after)))
    pieces = pieces_of(piece)
    if pieces:
        assert len(connection.execute(indexed(connection, OrderTextRow.words, pieces)).all()) == 1
