"""Orders: what customers buy, from the basket to the door."""

from shop_contexts.orders.decider import order
from shop_contexts.orders.history import history_queries
from shop_contexts.orders.projections import orders_projection
from shop_contexts.orders.queries import order_queries
from shop_contexts.orders.rules import order_rules
from shop_contexts.orders.sales_projection import order_sales_projection
from shop_contexts.orders.sales_queries import sales_queries
from shop_contexts.orders.search_projection import order_search_projection
from shop_contexts.orders.search_queries import search_queries
from twofold_server.modelling import Context

context = Context(
    package="shop.orders.v1",
    deciders=[order],
    projections=[orders_projection, order_sales_projection, order_search_projection],
    queries=[*order_queries, *sales_queries, *search_queries, *history_queries],
    rules=order_rules,
)
