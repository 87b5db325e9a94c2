"""The composition root of the orders service: every object is made here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from services.kit.database import Database
from services.kit.outbound import ServiceClient
from services.kit.run import Program
from services.kit.service import Parts, create_service
from services.orders import api
from services.orders.models import SCHEMA
from services.orders.orders import Orders
from services.orders.settings import OrdersSettings
from services.orders.stock import Stock
from services.orders.store import OrderStore

if TYPE_CHECKING:
    from fastapi import FastAPI

    from services.kit.clock import Clock
    from trust import LinkKeys


def create_app(settings: OrdersSettings, keys: LinkKeys, clock: Clock = time.time) -> FastAPI:
    """The orders service as an ASGI app; nothing is opened before its lifespan begins.

    Raises:
        LinkKeyError: there is no link to the products service.
    """
    database = Database(settings)
    products = ServiceClient("products", settings.products_url, keys=keys, clock=clock)
    parts = Parts(
        schema=SCHEMA,
        database=database,
        routers=[api.router],
        links=api.LINKS,
        state={"orders": Orders(OrderStore(database), Stock(products), clock)},
        closing=[products.close],
    )
    return create_service(parts, keys=keys, clock=clock)


async def _no_demo_orders(app: FastAPI) -> None:
    """Demo users start without orders: placing the first one is the demo."""
    del app


PROGRAM: Final = Program("orders", OrdersSettings, create_app, _no_demo_orders)
