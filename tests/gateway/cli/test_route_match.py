"""`lockgate routes match` says what the gateway would do, by the same functions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lockgate.cli.route_match import match_request
from lockgate.errors import ConfigurationError
from lockgate.settings import Settings

CONTENT: dict[str, Any] = {
    "server": {
        "own_host": "gate.example",
        "redirect_http": True,
        "public_url": "https://gate.example",
        "trusted_proxies": ["10.0.0.0/8"],
    },
    "admin": {"allow_addresses": ["192.0.2.0/24"]},
    "roles": {"customer": ["orders:read"]},
    "route": [
        {
            "name": "orders",
            "prefix": "/orders",
            "upstreams": ["http://127.0.0.1:9"],
            "scopes": {"*": ["orders:read"]},
            "allow_addresses": ["192.0.2.0/24"],
        },
        {"name": "www", "prefix": "/", "hosts": ["www.example"], "redirect": {"to": "https://app.example"}},
        {
            "name": "wiki",
            "prefix": "/wiki",
            "strip_prefix": True,
            "upstreams": ["http://127.0.0.1:9/base"],
            "auth": "public",
        }
        | {"methods": ["GET"], "service": "wiki"},
        {"name": "gone", "prefix": "/gone", "methods": ["GET"], "respond": {"status": 410}},
    ],
}
SETTINGS = Settings(**CONTENT)
INSIDE, OUTSIDE = "192.0.2.7", "198.51.100.1"


def matched(capsys: pytest.CaptureFixture[str], method: str, url: str, client: str | None) -> dict[str, Any]:
    match_request(SETTINGS, method, url, client, as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("method", "url", "client", "facts"),
    [
        ("GET", "https://a.example/orders/1", INSIDE, {"outcome": "route", "route": "orders", "identity": "required"}),
        ("GET", "https://a.example//orders", INSIDE, {"path": "/orders", "scopes": ["orders:read"]}),
        ("GET", "https://a.example//orders?a", INSIDE, {"target": "/orders?a"}),
        (
            "GET",
            "https://a.example/wiki/%7Ea?b",
            None,
            {"target": "/base/~a?b", "upstreams": ["http://127.0.0.1:9/base"]},
        ),
        ("GET", "https://a.example/wiki/internal/a", None, {"outcome": "refused", "code": "not_found"}),
        ("GET", "https://a.example/orders", OUTSIDE, {"outcome": "refused", "code": "address_refused"}),
        ("GET", "https://a.example/orders", None, {"outcome": "refused", "code": "address_refused"}),
        ("GET", "https://WWW.example?a", None, {"route": "www", "location": "https://app.example/?a"}),
        ("GET", "https://a.example/gone", None, {"route": "gone", "status": 410}),
        ("PUT", "https://a.example/gone", None, {"outcome": "refused", "status": 405}),
        ("GET", "https://a.example/nothing", None, {"outcome": "refused", "status": 404}),
        ("GET", "https://a.example/../x", None, {"outcome": "refused", "code": "malformed_target"}),
        ("GET", "https://a.example/gone;x/%2e%2e", None, {"outcome": "refused", "status": 400}),
        ("GET", "https://a_b/gone b", None, {"outcome": "refused", "status": 400}),
        ("GET", "http://gate.example/x", None, {"outcome": "redirect to https", "location": "https://gate.example/x"}),
        ("GET", "http://evil.example/x", None, {"outcome": "refused", "status": 421}),
        ("GET", "https://gate.example/auth/me", None, {"outcome": "call of the gateway itself"}),
        ("GET", "https://gate.example/admin/users", INSIDE, {"outcome": "call of the gateway itself"}),
        ("GET", "https://gate.example/admin/users", OUTSIDE, {"outcome": "refused", "code": "address_refused"}),
        ("OPTIONS", "https://a.example/", None, {"outcome": "call of the gateway itself"}),
        ("GET", "https://a.example/auth/me", None, {"outcome": "refused", "status": 404}),
        ("GET", "http://10.0.0.1/healthz", None, {"outcome": "call of the gateway itself"}),
    ],
)
def test_a_request_is_told_what_would_happen_to_it(
    capsys: pytest.CaptureFixture[str], method: str, url: str, client: str | None, facts: dict[str, Any]
) -> None:
    """R-265."""
    found = matched(capsys, method, url, client)
    assert {name: found.get(name) for name in facts} == facts


def test_people_read_one_fact_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    match_request(SETTINGS, "GET", "https://a.example/orders", INSIDE, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert "route      orders" in lines
    assert "scopes     orders:read" in lines


@pytest.mark.parametrize("url", ["/orders", "a.example/orders", "ftp://a.example/", "https://", "https:///x"])
def test_a_request_needs_a_whole_url(capsys: pytest.CaptureFixture[str], url: str) -> None:
    with pytest.raises(ConfigurationError, match="is no http:// or https:// URL"):
        matched(capsys, "GET", url, None)
