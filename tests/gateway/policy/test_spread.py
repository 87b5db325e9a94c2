"""How a route spreads its requests: what its settings may say, and what a request chooses (R-281, R-285, R-286)."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.edge.headers import examine_fields
from lockgate.edge.request import InboundRequest
from lockgate.errors import ConfigurationError
from lockgate.policy.routes import RouteTable
from lockgate.policy.spread import Pin, Spread
from lockgate.settings import LimitSettings, Settings

TWO = ["http://10.0.0.1:80", "http://10.0.0.2:80"]


def spread_of(**route: Any) -> Spread:  # noqa: ANN401 - as in the file
    entry = {"name": "orders", "prefix": "/orders", "upstreams": TWO, **route}
    (compiled,) = RouteTable.from_settings(Settings(route=[entry])).routes  # type: ignore[arg-type]  # as in the file
    return compiled.spread


def request(fields: str = "", method: str = "GET") -> InboundRequest:
    facts, _ = examine_fields(f"Host: shop.example\r\n{fields}".encode(), LimitSettings())
    return InboundRequest(method, "/orders", None, True, facts.host, facts, "192.0.2.1", "http", "0" * 32, "0" * 32)  # noqa: FBT003 - HTTP/1.1


def test_weights_and_pin_are_optional() -> None:
    assert spread_of() == Spread()


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        ({"weights": [1]}, "1 weights for 2 upstreams"),
        ({"weights": [1, 1, 1]}, "3 weights for 2 upstreams"),
        ({"weights": [0, 0]}, "weights of 0 alone"),
        ({"pin": "header X-Canary", "upstreams": TWO[:1]}, "there is one upstream"),
        ({"pin": "header Authorization"}, "cannot choose an upstream by the field 'Authorization'"),
        ({"pin": "header Cookie"}, "by the field 'Cookie'"),
        ({"pin": "header Connection"}, "by the field 'Connection'"),
        ({"pin": "header X-Forwarded-For"}, "by the field 'X-Forwarded-For'"),
        ({"pin": "header X-User-Id"}, "by the field 'X-User-Id'"),
        ({"pin": "header X_Canary"}, "by the field 'X_Canary'"),
    ],
)
def test_a_spread_that_can_have_no_effect_stops_the_start(route: dict[str, Any], fault: str) -> None:
    """R-285, R-286: with the name of the route and the fault."""
    with pytest.raises(ConfigurationError, match="route 'orders'") as caught:
        spread_of(**route)
    assert fault in str(caught.value)


def test_weights_belong_to_the_upstreams_in_effect() -> None:
    """R-285: `[upstreams]` may replace those of a route, and then the weights must fit."""
    entry = {"name": "orders", "prefix": "/orders", "upstreams": TWO, "weights": [9, 1]}
    settings = Settings(route=[entry], upstreams={"orders": TWO[:1]})  # type: ignore[arg-type, dict-item]  # as in the file
    with pytest.raises(ConfigurationError, match="2 weights for 1 upstreams"):
        RouteTable.from_settings(settings)


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ("X-Canary: 2\r\n", 2),
        ("x-canary: 1\r\n", 1),
        ("X-Canary: 999\r\n", 999),
        ("", None),
        ("X-Canary:\r\n", None),
        ("X-Canary: 1\r\nX-Canary: 2\r\n", None),
        ("X-Canary: 1, 2\r\n", None),
        ("X-Canary: -1\r\n", None),
        ("X-Canary: 1.0\r\n", None),
        ("X-Canary: \u00b2\r\n", None),
        ("X-Canary: 0001\r\n", None),
        ("X-Canary: http://10.0.0.9:80\r\n", None),
        ("Cookie: X-Canary=2\r\n", None),
    ],
)
def test_a_field_names_an_upstream_by_its_number_alone(fields: str, number: int | None) -> None:
    """R-286: whatever else it says counts as nothing said; no value is ever an address (R-79)."""
    pin = spread_of(pin="header X-Canary").pin
    assert pin is not None
    assert pin.number_in(request(fields)) == number


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ("Cookie: a=1; canary=2; b=3\r\n", 2),
        ("Cookie: canary=2\r\n", 2),
        ("Cookie: a=1\r\n", None),
        ("Cookie: canary=1; canary=2\r\n", None),
        ("Cookie: xcanary=2\r\n", None),
        ("canary: 2\r\n", None),
    ],
)
def test_a_cookie_names_an_upstream_by_its_number_alone(fields: str, number: int | None) -> None:
    """R-286."""
    assert Pin(b"canary", is_cookie=True).number_in(request(fields)) == number
    assert spread_of(pin="cookie canary").pin == Pin(b"canary", is_cookie=True)
