"""The composition root of the orders service: every object is made here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from services.kit.database import Database
from services.kit.events import Feed
from services.kit.outbound import ServiceClient
from services.kit.redis import connect
from services.kit.run import Program
from services.kit.service import Parts, create_service
from services.orders import api, cart_api, events_api
from services.orders.carts import Carts
from services.orders.checkout import Checkouts
from services.orders.checkout_store import CheckoutStore
from services.orders.events import OrderEvents
from services.orders.models import SCHEMA
from services.orders.orders import Orders
from services.orders.settings import OrdersSettings
from services.orders.stock import CALLS, Stock
from services.orders.store import OrderStore

if TYPE_CHECKING:
    from fastapi import FastAPI

    from services.kit.clock import Clock
    from trust import LinkKeys


def create_app(settings: OrdersSettings, keys: LinkKeys, clock: Clock = time.time) -> FastAPI:
    """The orders service as an ASGI app; nothing is opened before its lifespan begins.

    Raises:
        LinkKeyError: there is no link to the products service.
        ConfigurationError: the Redis URL is none.
    """
    database = Database(settings)
    redis = connect(settings.redis_url)
    products = ServiceClient("products", settings.products_url, calls=CALLS, keys=keys, clock=clock)
    stock = Stock(products)
    carts = Carts(redis)
    feed = Feed(redis, "orders", settings.beat_s)
    events = OrderEvents(feed, clock)
    checkouts = Checkouts(CheckoutStore(database), stock, carts, events, clock)
    parts = Parts(
        schema=SCHEMA,
        database=database,
        routers=[cart_api.router, events_api.router, api.router],
        links=api.LINKS,
        state={
            "orders": Orders(OrderStore(database), checkouts, events, clock),
            "checkouts": checkouts,
            "carts": carts,
            "stock": stock,
            "feed": feed,
        },
        draining=[feed.stop],
        closing=[feed.close, products.close, redis.aclose],
    )
    return create_service(parts, keys=keys, clock=clock)


async def _no_demo_orders(app: FastAPI) -> None:
    """Demo users start without orders: placing the first one is the demo."""
    del app


PROGRAM: Final = Program("orders", OrdersSettings, create_app, _no_demo_orders)
