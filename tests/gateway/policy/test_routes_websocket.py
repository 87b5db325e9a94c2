"""Where a WebSocket may be opened is said in the route table, to the letter."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.errors import ConfigurationError
from lockgate.policy.routes import RouteTable
from lockgate.settings import Settings

ORDERS: dict[str, Any] = {"name": "orders", "prefix": "/orders", "upstreams": ["http://127.0.0.1:8102"]}


def table(*routes: dict[str, Any], **server: Any) -> RouteTable:  # noqa: ANN401 - any setting
    content: dict[str, Any] = {"route": routes, "server": server}
    return RouteTable.from_settings(Settings(**content))


def test_a_route_has_the_sockets_and_origins_it_names() -> None:
    (route,) = table({**ORDERS, "websocket": ["/orders/events"]}, allowed_origins=["https://shop.example"]).routes
    assert route.sockets == {"/orders/events"}
    assert route.origins == {b"https://shop.example"}


def test_a_routes_own_origins_are_instead_of_the_servers() -> None:
    (route,) = table({**ORDERS, "allowed_origins": []}, allowed_origins=["https://shop.example"]).routes
    assert route.origins == frozenset()


@pytest.mark.parametrize("path", ["/products/events", "/ordersx", "/orders/", "/orders/../x", "orders"])
def test_a_socket_lies_below_its_route(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no path|is not a path below /orders"):
        table({**ORDERS, "websocket": [path]})


@pytest.mark.parametrize("path", ["/orders/a.b", "/orders/%41", "/orders/é"])
def test_a_socket_may_have_any_path_that_a_request_may_have(path: str) -> None:
    """R-208."""
    (route,) = table({**ORDERS, "websocket": [path]}).routes
    assert len(route.sockets) == 1


def test_a_socket_that_another_route_would_get_is_an_error() -> None:
    longer = {**ORDERS, "name": "events", "prefix": "/orders/events"}
    with pytest.raises(ConfigurationError, match="longer prefix"):
        table({**ORDERS, "websocket": ["/orders/events"]}, longer)


def test_a_route_without_get_has_no_sockets() -> None:
    with pytest.raises(ConfigurationError, match="opened with GET"):
        table({**ORDERS, "methods": ["POST"], "websocket": ["/orders/events"]})
