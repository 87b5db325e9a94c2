"""The composition root of the users service: every object is made here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from services.kit.database import Database
from services.kit.objects import ObjectStore
from services.kit.run import Program
from services.kit.service import Parts, create_service
from services.users import api, demo, own_api
from services.users.accounts import Accounts
from services.users.addresses import Addresses
from services.users.files import Files
from services.users.models import SCHEMA
from services.users.passwords import Passwords
from services.users.settings import UsersSettings
from services.users.store import AccountStore

if TYPE_CHECKING:
    from fastapi import FastAPI

    from services.kit.clock import Clock
    from trust import LinkKeys


def create_app(settings: UsersSettings, keys: LinkKeys, clock: Clock = time.time) -> FastAPI:
    """The users service as an ASGI app; nothing is opened before its lifespan begins."""
    database = Database(settings)
    passwords = Passwords(settings.hashing_threads)
    objects = ObjectStore(settings)
    parts = Parts(
        schema=SCHEMA,
        database=database,
        routers=[api.router, own_api.router],
        links=api.LINKS,
        state={
            "accounts": Accounts(AccountStore(database), passwords, clock),
            "addresses": Addresses(database, clock),
            "files": Files(database, objects, clock),
        },
        closing=[passwords.close, objects.close],
    )
    return create_service(parts, keys=keys, clock=clock, leeway_s=settings.clock_leeway_s)


PROGRAM: Final = Program("users", UsersSettings, create_app, demo.seed)
