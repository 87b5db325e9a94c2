"""The composition root of the products service: every object is made here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from lockgate_shop.kit.data.cache import Cache
from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.data.objects import ObjectStore
from lockgate_shop.kit.process.run import Program
from lockgate_shop.kit.process.service import Parts, create_service
from lockgate_shop.products import api, demo, images_api, internal
from lockgate_shop.products.catalogue import Catalogue
from lockgate_shop.products.images import Images
from lockgate_shop.products.models import SCHEMA
from lockgate_shop.products.reservations import Reservations
from lockgate_shop.products.settings import ProductsSettings
from lockgate_shop.products.store import ProductStore

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lockgate_shop.kit.clock import Clock
    from lockgate_trust import LinkKeys


def create_app(settings: ProductsSettings, keys: LinkKeys, clock: Clock = time.time) -> FastAPI:
    """The products service as an ASGI app; nothing is opened before its lifespan begins.

    Raises:
        ConfigurationError: the Redis URL is none.
    """
    database = Database(settings)
    objects = ObjectStore(settings)
    cache = Cache("product", settings.redis_url, clock)
    parts = Parts(
        schema=SCHEMA,
        database=database,
        routers=[api.router, images_api.router, internal.router],
        links=internal.LINKS,
        state={
            "catalogue": Catalogue(ProductStore(database), cache, clock),
            "images": Images(database, objects, cache, clock),
            "reservations": Reservations(database, cache, clock),
        },
        closing=[objects.close, cache.close],
    )
    return create_service(parts, keys=keys, clock=clock, leeway_s=settings.clock_leeway_s)


PROGRAM: Final = Program("products", ProductsSettings, create_app, demo.seed_products)
