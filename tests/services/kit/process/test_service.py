from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.http.links import LinkTable
from lockgate_shop.kit.process.service import Parts, create_service
from lockgate_shop.kit.settings import ServiceSettings
from lockgate_shop.orders import api as orders_api
from lockgate_shop.orders import cart_api, exports_api
from lockgate_shop.products import api as products_api
from lockgate_shop.products import images_api, internal
from lockgate_shop.users import api as users_api
from lockgate_shop.users import own_api
from lockgate_shop.users.models import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI
    from fastapi.dependencies.models import Dependant

    from tests.support.peers import Clock, Links

GATEWAY = frozenset({"gateway"})
MODULES = (users_api, own_api, products_api, images_api, internal, orders_api, cart_api, exports_api)


def service_of(router: APIRouter, table: LinkTable, tmp_path: Path, links: Links, clock: Clock) -> FastAPI:
    database = Database(ServiceSettings(database_url=f"sqlite:///{tmp_path}/x.db"))
    parts = Parts(schema=SCHEMA, database=database, routers=[router], links=table, state={})
    return create_service(parts, keys=links.of("users"), clock=clock)


@pytest.mark.parametrize("prefix", ["", "/internal"])
def test_a_route_that_no_rule_speaks_of_keeps_the_service_from_starting(
    tmp_path: Path, links: Links, clock: Clock, prefix: str
) -> None:
    router = APIRouter(prefix=prefix)
    router.add_api_route("/forgotten", lambda: None)
    with pytest.raises(RuntimeError, match="forgotten"):
        service_of(router, LinkTable({"/users": GATEWAY}), tmp_path, links, clock)
    assert service_of(router, LinkTable({f"{prefix}/forgotten": GATEWAY}), tmp_path, links, clock)


def test_each_route_documents_its_answers_and_no_other_validation_answer(
    users_app: FastAPI, products_app: FastAPI
) -> None:
    for app in (users_app, products_app):
        for path, methods in app.openapi()["paths"].items():
            for method, operation in methods.items():
                assert "default" in operation["responses"], (method, path)
                assert "422" not in operation["responses"], (method, path)


def calls_of(dependant: Dependant) -> Iterator[Callable[..., object]]:
    """An endpoint, and all that it depends on."""
    assert dependant.call is not None
    yield dependant.call
    for below in dependant.dependencies:
        yield from calls_of(below)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_no_request_waits_for_a_thread_to_find_what_it_depends_on(module: object) -> None:
    """The framework runs a function that is not asynchronous in a thread, which costs more than most of them do."""
    router: APIRouter = vars(module)["router"]
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    assert routes
    calls = [call for route in routes for call in calls_of(route.dependant)]
    assert [call for call in calls if not (inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call))] == []
