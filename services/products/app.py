"""The composition root of the products service: every object is made here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from services.kit.database import Database
from services.kit.run import Program
from services.kit.service import Parts, create_service
from services.products import api, demo, internal
from services.products.catalogue import Catalogue
from services.products.models import SCHEMA
from services.products.reservations import Reservations
from services.products.settings import ProductsSettings
from services.products.store import ProductStore

if TYPE_CHECKING:
    from fastapi import FastAPI

    from services.kit.clock import Clock
    from trust import LinkKeys


def create_app(settings: ProductsSettings, keys: LinkKeys, clock: Clock = time.time) -> FastAPI:
    """The products service as an ASGI app; nothing is opened before its lifespan begins."""
    database = Database(settings)
    parts = Parts(
        schema=SCHEMA,
        database=database,
        routers=[api.router, internal.router],
        links=internal.LINKS,
        state={
            "catalogue": Catalogue(ProductStore(database), clock),
            "reservations": Reservations(database, clock),
        },
    )
    return create_service(parts, keys=keys, clock=clock)


PROGRAM: Final = Program("products", ProductsSettings, create_app, demo.seed)
