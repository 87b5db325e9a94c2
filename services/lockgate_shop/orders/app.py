"""The composition root of the orders service: every object is made here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.data.events import Feed
from lockgate_shop.kit.data.jobs import Queue
from lockgate_shop.kit.data.objects import ObjectStore
from lockgate_shop.kit.data.redis import connect_redis
from lockgate_shop.kit.http.outbound import ServiceClient
from lockgate_shop.kit.process.run import Program
from lockgate_shop.kit.process.service import Parts, create_service
from lockgate_shop.orders import api, cart_api, events_api, exports_api
from lockgate_shop.orders.carts import Carts
from lockgate_shop.orders.checkout import Checkouts
from lockgate_shop.orders.checkout_store import CheckoutStore
from lockgate_shop.orders.events import OrderEvents
from lockgate_shop.orders.export_store import ExportStore
from lockgate_shop.orders.exports import Exports
from lockgate_shop.orders.models import SCHEMA
from lockgate_shop.orders.orders import Orders
from lockgate_shop.orders.settings import OrdersSettings
from lockgate_shop.orders.stock import CALLS, Stock
from lockgate_shop.orders.store import OrderStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fastapi import FastAPI

    from lockgate_shop.kit.clock import Clock
    from lockgate_trust import LinkKeys


QUEUE: Final = "orders"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Every object of this service: those that its HTTP side and its worker both use."""

    database: Database
    stock: Stock
    carts: Carts
    feed: Feed
    checkouts: Checkouts
    orders: Orders
    exports: Exports
    closing: Sequence[Callable[[], Awaitable[None]]]
    """What to close at the end, in this order, before the database."""


def build_objects(settings: OrdersSettings, keys: LinkKeys, clock: Clock) -> Built:
    """Make them; nothing is opened.

    Raises:
        LinkKeyError: there is no link to the products service.
        ConfigurationError: the Redis URL is none.
    """
    database = Database(settings)
    redis = connect_redis(settings.redis_url)
    objects = ObjectStore(settings)
    products = ServiceClient("products", settings.products_url, calls=CALLS, keys=keys, clock=clock)
    stock = Stock(products)
    carts = Carts(redis)
    feed = Feed(redis, "orders", settings.beat_s)
    events = OrderEvents(feed, clock)
    checkouts = Checkouts(CheckoutStore(database), stock, carts, events, clock)
    return Built(
        database=database,
        stock=stock,
        carts=carts,
        feed=feed,
        checkouts=checkouts,
        orders=Orders(OrderStore(database), checkouts, events, clock),
        exports=Exports(ExportStore(database), objects, Queue(settings.redis_url, QUEUE), clock),
        closing=(feed.close, products.close, objects.close, redis.aclose),
    )


def create_app(settings: OrdersSettings, keys: LinkKeys, clock: Clock = time.time) -> FastAPI:
    """The orders service as an ASGI app; nothing is opened before its lifespan begins.

    Raises:
        LinkKeyError: there is no link to the products service.
        ConfigurationError: the Redis URL is none.
    """
    built = build_objects(settings, keys, clock)
    parts = Parts(
        schema=SCHEMA,
        database=built.database,
        # The last one takes any order's id for a segment, so those with words of their own come before it.
        routers=[cart_api.router, events_api.router, exports_api.router, api.router],
        links=api.LINKS,
        state={name: getattr(built, name) for name in ("orders", "checkouts", "carts", "stock", "feed", "exports")},
        draining=[built.feed.end_connections],
        closing=built.closing,
    )
    return create_service(parts, keys=keys, clock=clock, leeway_s=settings.clock_leeway_s)


async def _no_demo_orders(app: FastAPI) -> None:
    """Demo users start without orders: placing the first one is the demo."""
    del app


PROGRAM: Final = Program("orders", OrdersSettings, create_app, _no_demo_orders)
