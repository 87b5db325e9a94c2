from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi import APIRouter

from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.http.links import LinkTable
from lockgate_shop.kit.process.service import Parts, create_service
from lockgate_shop.kit.settings import ServiceSettings
from lockgate_shop.users.models import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI

    from tests.support.peers import Clock, Links

GATEWAY = frozenset({"gateway"})


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
