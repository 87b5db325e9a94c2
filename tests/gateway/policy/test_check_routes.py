"""R-265: a table that is ambiguous, has a dead route or leads back to itself does not start."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.errors import ConfigurationError
from lockgate.policy.routes import RouteTable
from lockgate.settings import Settings

SERVICE = {"upstreams": ["http://127.0.0.1:9"]}
FIXED: dict[str, Any] = {"respond": {"status": 204}}


def to(target: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any setting of a redirect
    return {"redirect": {"to": target, **more}}


def table(routes: dict[str, dict[str, Any]], **server: Any) -> RouteTable:  # noqa: ANN401 - any setting
    leads = {"upstreams", "redirect", "respond"}
    entries = [
        {"name": name, "prefix": "/", **({} if leads & route.keys() else SERVICE), **route}
        for name, route in routes.items()
    ]
    content: dict[str, Any] = {"route": entries, "server": {"port": 8080, **server}}
    return RouteTable.from_settings(Settings(**content))


A, B = "a.example", "b.example"


@pytest.mark.parametrize(
    ("routes", "server", "said"),
    [
        # Two routes for the same request.
        ({"one": {}, "two": {}}, {}, "routes 'one' and 'two' both take GET of the prefix '/'"),
        ({"one": {"methods": ["GET", "PUT"]}, "two": {"methods": ["PUT"]}}, {}, "both take PUT"),
        ({"one": {"hosts": [A, B]}, "two": {"hosts": [B]}}, {}, "'one' and 'two' .* on b.example"),
        ({"one": {"hosts": ["*.a.example"]}, "two": {"hosts": ["*.A.example"]}}, {}, "'one' and 'two'"),
        # A route that no request reaches.
        ({"one": {"prefix": "/auth/x"}}, {}, "route 'one': /auth/x is never routed: .* server.own_host moves"),
        ({"one": {"prefix": "/healthz", "hosts": ["10.0.0.1"]}}, {"own_host": A}, "'one': /healthz is never routed on"),
        ({"one": {"prefix": "/admin", "hosts": [A]}}, {"own_host": A}, "'one': /admin is never routed on a.example"),
        ({"one": {"prefix": "/internal/x"}}, {"own_host": A}, "'one': /internal/x is never routed"),
        ({"one": {"prefix": "/auth/verify", "hosts": [B]}}, {"own_host": A}, "'one': /auth/verify is never routed"),
        ({"one": {"hosts": [A, B]}}, {"allowed_hosts": [A]}, "'one': no request reaches its host b.example"),
        ({"one": {"hosts": ["*.a.example"]}}, {"allowed_hosts": [A]}, "no request reaches its host"),
        ({"one": {}, "two": {"hosts": [A]}}, {"allowed_hosts": [A]}, "'one': no request reaches it; .* route 'two'"),
        (
            {"one": {"prefix": "/x"}, "two": {"hosts": ["*.a.example"]}, "three": {"hosts": [B]}},
            {"allowed_hosts": ["c.a.example", B]},
            "'one': no request reaches it; .* 'three'",
        ),
        ({"one": {}}, {"allowed_hosts": [A], "own_host": B}, "server.own_host: b.example is not among"),
        # A route whose upstream is the gateway.
        ({"one": {"upstreams": ["http://127.0.0.1:8080"]}}, {}, "route 'one': its upstream .* is this gateway itself"),
        ({"one": {"upstreams": ["http://localhost:8080"]}}, {"host": "0.0.0.0"}, "this gateway itself"),  # noqa: S104
        ({"one": {"upstreams": ["http://[::1]:8080"]}}, {"host": "::"}, "this gateway itself"),
        ({"one": {"upstreams": ["http://10.0.0.1:8080"]}}, {"host": "10.0.0.1"}, "this gateway itself"),
        ({"one": {"upstreams": ["https://g.example:443"]}}, {"public_url": "https://g.example"}, "this gateway itself"),
        ({"one": {"hosts": [A], "upstreams": ["http://a.example:8080"]}}, {}, "this gateway itself"),
        # A redirect that leads to itself.
        ({"one": {"hosts": [A], **to("https://a.example")}}, {}, "'one': its redirect leads back .*redirect_http"),
        ({"one": to("https://g.example")}, {"public_url": "https://g.example"}, "leads back"),
        ({"one": to("/app")}, {}, "leads back to it, by one -> one"),
        ({"one": {"prefix": "/old", **to("/old/new")}}, {}, "leads back"),
        ({"one": to("/login", keep_path=False)}, {}, "leads back"),
        (
            {"one": {"hosts": [A], **to("https://b.example")}, "two": {"hosts": [B], **to("https://a.example")}},
            {},
            "'one': its redirect leads back to it, by one -> two -> one",
        ),
        ({"one": {"prefix": "/x", **to("/y")}, "two": {"prefix": "/y", **to("/x/z")}}, {}, "one -> two -> one"),
        ({"one": {"hosts": ["*.a.example"], **to("https://www.a.example")}}, {}, "leads back"),
        # The redirect to https.
        ({"one": {}}, {"redirect_http": True, "trusted_proxies": ["10.0.0.0/8"]}, "begins with https"),
    ],
)
def test_a_table_that_cannot_mean_what_it_says_does_not_start(
    routes: dict[str, dict[str, Any]], server: dict[str, Any], said: str
) -> None:
    """R-265: one line, with the names of the routes."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        table(routes, **server)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("routes", "server"),
    [
        ({"one": {"methods": ["GET"]}, "two": {"methods": ["PUT"]}}, {}),
        ({"one": {}, "two": {"hosts": [A]}, "three": {"hosts": ["*.example"]}}, {}),
        ({"one": {}, "two": {"hosts": [A]}}, {"allowed_hosts": [A, B]}),
        ({"one": {"prefix": "/auth", "hosts": [B]}}, {"own_host": A}),
        ({"one": {"prefix": "/auth"}}, {"own_host": A}),
        ({"one": {"prefix": "/metrics", "hosts": ["*.example"]}}, {"own_host": A}),
        ({"one": {"upstreams": ["http://127.0.0.1:8081"]}}, {}),
        ({"one": {"upstreams": ["http://gateway:8080"]}}, {}),
        ({"one": {"hosts": [A], "upstreams": ["http://a.example:3000"]}}, {}),
        ({"one": {"hosts": [A], **to("https://b.example")}, "two": {"hosts": [B]}}, {}),
        ({"one": {"hosts": ["www.a.example"], **to("https://a.example")}, "two": {"hosts": [A]}}, {}),
        ({"one": to("https://elsewhere.example")}, {}),
        ({"one": {"prefix": "/old", **to("/new")}, "two": {"prefix": "/new", **FIXED}}, {}),
        ({"one": to("/app"), "two": {"prefix": "/app"}}, {}),
        ({"one": {**to("/app"), "methods": ["GET"]}, "two": {"prefix": "/app"}}, {"public_url": "https://g.example/x"}),
    ],
)
def test_a_table_that_is_clear_starts(routes: dict[str, dict[str, Any]], server: dict[str, Any]) -> None:
    """R-265."""
    assert len(table(routes, **server).routes) == len(routes)
