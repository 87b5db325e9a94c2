"""The composition root of the users service: every object is made here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.data.objects import ObjectStore
from lockgate_shop.kit.process.run import Program
from lockgate_shop.kit.process.service import Parts, create_service
from lockgate_shop.users import api, demo, own_api
from lockgate_shop.users.accounts import Accounts
from lockgate_shop.users.addresses import Addresses
from lockgate_shop.users.files import Files
from lockgate_shop.users.models import SCHEMA
from lockgate_shop.users.passwords import Passwords
from lockgate_shop.users.settings import UsersSettings
from lockgate_shop.users.store import AccountStore

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lockgate_shop.kit.clock import Clock
    from lockgate_shop.users.passwords import Cost
    from lockgate_trust import LinkKeys


def create_app(settings: UsersSettings, keys: LinkKeys, clock: Clock = time.time, cost: Cost | None = None) -> FastAPI:
    """The users service as an ASGI app; nothing is opened before its lifespan begins.

    Args:
        settings: as it is configured.
        keys: the link keys of the service.
        clock: the time.
        cost: of each hash of a password; today's where not given.
    """
    database = Database(settings)
    passwords = Passwords(settings.hashing_threads, cost=cost)
    objects = ObjectStore(settings)
    parts = Parts(
        schema=SCHEMA,
        database=database,
        routers=[api.router, own_api.router],
        links=api.LINKS,
        direct=[api.read_account, api.verify_credentials],
        state={
            "accounts": Accounts(AccountStore(database), passwords, clock),
            "addresses": Addresses(database, clock),
            "files": Files(database, objects, clock),
        },
        closing=[passwords.close, objects.close],
    )
    return create_service(parts, keys=keys, clock=clock, leeway_s=settings.clock_leeway_s)


PROGRAM: Final = Program("users", UsersSettings, create_app, demo.seed_users)
