"""The composition root of the products service: every object is made here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from services.kit.cache import Cache
from services.kit.database import Database
from services.kit.objects import ObjectStore
from services.kit.run import Program
from services.kit.service import Parts, create_service
from services.products import api, demo, images_api, internal
from services.products.catalogue import Catalogue
from services.products.images import Images
from services.products.models import SCHEMA
from services.products.reservations import Reservations
from services.products.settings import ProductsSettings
from services.products.store import ProductStore

if TYPE_CHECKING:
    from fastapi import FastAPI

    from services.kit.clock import Clock
    from trust import LinkKeys


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


PROGRAM: Final = Program("products", ProductsSettings, create_app, demo.seed)
