"""The one description of all calls: its content, and its readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from lockgate.endpoints.openapi import PATH, merge_documents
from lockgate.policy.routes import RouteTable
from lockgate.settings import Settings
from tests.support.shop import Shop, bearer, code

if TYPE_CHECKING:
    from tests.support.stack import Stack

OWN: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": "Lockgate"}, "paths": {"/auth/login": {"post": {}}}}
THINGS: dict[str, Any] = {
    "paths": {
        "/things/{id}": {
            "get": {"operationId": "read", "responses": {"200": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
            "post": {"operationId": "change"},
            "delete": {"operationId": "remove"},
        },
        "/internal/things": {"get": {"operationId": "secret"}},
        "/others": {"get": {"operationId": "stray"}},
    },
    "components": {"schemas": {"Thing": {"items": [{"$ref": "#/components/schemas/Thing"}]}}},
}


def table(**route: Any) -> RouteTable:  # noqa: ANN401 - settings of a route
    place = {"upstreams": ["http://127.0.0.1:1"]}
    things = {"name": "things", "prefix": "/things", "methods": ["GET", "POST"], **place, **route}
    others = {"name": "others", "prefix": "/others", **place}
    roles = {"writer": ["w"]}
    return RouteTable.from_settings(Settings(roles=roles, route=[things, others]))  # type: ignore[arg-type]  # as from a file


def test_only_what_the_route_table_lets_through_is_described() -> None:
    merged = merge_documents(OWN, {"things": THINGS}, table(auth="required"))
    assert set(merged["paths"]) == {"/auth/login", "/things/{id}"}
    assert set(merged["paths"]["/things/{id}"]) == {"get", "post"}


def test_names_of_two_services_do_not_meet() -> None:
    merged = merge_documents(OWN, {"things": THINGS}, table(auth="required"))
    read = merged["paths"]["/things/{id}"]["get"]
    assert (read["operationId"], read["tags"]) == ("things_read", ["things"])
    new_name = {"$ref": "#/components/schemas/things.Thing"}
    assert read["responses"]["200"]["schema"] == new_name
    assert merged["components"]["schemas"] == {"things.Thing": {"items": [new_name]}}


@pytest.mark.parametrize(
    ("route", "get", "post"),
    [
        ({"auth": "required", "scopes": {"POST": ["w"]}}, [{"bearer": []}], [{"bearer": ["w"]}]),
        ({"auth": "optional", "scopes": {"POST": ["w"]}}, [{}, {"bearer": []}], [{"bearer": ["w"]}]),
        ({"auth": "public", "public_write": True}, [{}], [{}]),
    ],
)
def test_each_call_says_who_may_make_it(route: dict[str, Any], get: object, post: object) -> None:
    operations = merge_documents(OWN, {"things": THINGS}, table(**route))["paths"]["/things/{id}"]
    assert (operations["get"]["security"], operations["post"]["security"]) == (get, post)


async def test_only_administrators_read_it(shop: Shop) -> None:
    assert code(await shop.http.get(PATH)) == (401, "credentials_required")
    assert code(await shop.http.get(PATH, headers=bearer(await shop.tokens("alice")))) == (403, "insufficient_role")
    answer = await shop.http.get(PATH, headers=bearer(await shop.tokens("ada")))
    assert answer.status_code == 200
    assert "/auth/login" in answer.json()["paths"]


@pytest.mark.stack
def test_on_a_developers_machine_everybody_reads_all_of_it(stack: Stack) -> None:
    document = httpx.get(f"{stack.url}{PATH}", trust_env=False).json()
    assert document["x-unavailable"] == []
    for path in ("/auth/login", "/users/me/uploads", "/products/{product_id}", "/orders/cart"):
        assert path in document["paths"], path
    assert not any(path.startswith("/internal") for path in document["paths"])
