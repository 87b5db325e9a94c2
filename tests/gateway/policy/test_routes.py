"""R-73, R-76: the route table. A path outside it is refused, and an inconsistent table stops the start."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.errors import ConfigurationError, Reason, Refusal
from lockgate.identity.model import Identity, Principal
from lockgate.policy.authorize import authorize
from lockgate.policy.own_paths import OWN_PREFIXES
from lockgate.policy.route import KNOWN_METHODS, Route
from lockgate.policy.routes import RouteTable, find_route
from lockgate.settings import Settings
from lockgate_trust import cover
from tests.support.clock import ManualClock
from tests.support.heads import request

ROLES: dict[str, tuple[str, ...]] = {"customer": ("orders:read", "orders:write")}
CLOCK = ManualClock()
ADDRESS = "http://127.0.0.1:9"
HOST = "shop.example"


def table(*routes: dict[str, Any]) -> RouteTable:
    entries = [{"name": f"r{number}", "upstreams": [ADDRESS], **route} for number, route in enumerate(routes)]
    return RouteTable.from_settings(Settings(roles=ROLES, route=entries))  # type: ignore[arg-type]  # as from a file


def prefix_of(table: RouteTable, path: str) -> str | None:
    found = table.find_route(HOST, path, "GET")
    return None if found is None else found.prefix


def test_routes_of_one_service_keep_their_own_upstreams_unless_the_service_has_some() -> None:
    shared = {"service": "orders", "upstreams": ["http://127.0.0.1:1"]}
    entries = [{**shared, "name": "a", "prefix": "/a"}, {**shared, "name": "b", "prefix": "/b", "upstreams": [ADDRESS]}]
    settings = Settings(roles=ROLES, route=entries)  # type: ignore[arg-type]  # as from a file
    assert [route.upstreams for route in RouteTable.from_settings(settings).routes] == [
        ("http://127.0.0.1:1",),
        (ADDRESS,),
    ]
    overruled = settings.model_copy(update={"upstreams": {"orders": ("http://127.0.0.1:2",)}})
    assert {route.upstreams for route in RouteTable.from_settings(overruled).routes} == {("http://127.0.0.1:2",)}


NESTED = table({"prefix": "/orders"}, {"prefix": "/orders/export"}, {"prefix": "/a/b/c"})


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/orders", "/orders"),
        ("/orders/", "/orders"),
        ("/orders/1", "/orders"),
        ("/orders/export", "/orders/export"),
        ("/orders/export/1", "/orders/export"),
        ("/orders/exports", "/orders"),
        ("/a/b/c/d", "/a/b/c"),
        ("/ordersx", None),
        ("/order", None),
        ("/Orders", None),
        ("/", None),
        ("/a", None),
        ("/a/b", None),
        ("/a/b/cc", None),
        ("/x/orders", None),
        ("/orders%2Fexport", None),
    ],
)
def test_the_longest_prefix_that_ends_at_a_segment_border_wins(path: str, prefix: str | None) -> None:
    """R-73"""
    assert prefix_of(NESTED, path) == prefix


@given(path=st.lists(st.sampled_from(["orders", "export", "a", "b", "c", "ordersx", "1"]), max_size=6))
def test_a_match_is_what_comparing_segments_says(path: list[str]) -> None:
    prefixes = [["orders"], ["orders", "export"], ["a", "b", "c"]]
    fitting = [prefix for prefix in prefixes if path[: len(prefix)] == prefix]
    expected = max(("/" + "/".join(prefix) for prefix in fitting), key=len, default=None)
    assert prefix_of(NESTED, "/" + "/".join(path)) == expected


def test_no_route_is_404_and_another_method_405_with_what_is_allowed() -> None:
    """R-73, R-76"""
    routes = table({"prefix": "/orders", "methods": ["GET", "POST"]})
    assert isinstance(find_route(routes, request("GET", "/orders")), Route)
    refusals = {
        (method, path): find_route(routes, request(method, path))
        for method, path in [("GET", "/x"), ("PUT", "/orders"), ("TRACE", "/orders"), ("get", "/orders"), ("FOO", "/x")]
    }
    reasons = {key: one.reason for key, one in refusals.items() if isinstance(one, Refusal)}
    assert reasons == {
        ("GET", "/x"): Reason.NO_ROUTE,
        ("PUT", "/orders"): Reason.METHOD_NOT_ALLOWED,
        ("TRACE", "/orders"): Reason.METHOD_NOT_ALLOWED,
        ("get", "/orders"): Reason.UNKNOWN_METHOD,
        ("FOO", "/x"): Reason.UNKNOWN_METHOD,
    }
    refusal = refusals["PUT", "/orders"]
    assert isinstance(refusal, Refusal)
    assert refusal.headers == (("Allow", "GET, POST"),)


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT"])
def test_some_methods_are_refused_everywhere_and_cannot_be_configured(method: str) -> None:
    """R-76"""
    assert isinstance(find_route(NESTED, request("GET", "/orders")._replace(method=method)), Refusal)
    with pytest.raises(ConfigurationError, match="methods must be among"):
        table({"prefix": "/orders", "methods": [method]})


@pytest.mark.parametrize("own", OWN_PREFIXES)
def test_what_the_gateway_answers_itself_is_found_at_a_segment_border(own: str) -> None:
    """R-73"""
    assert NESTED.is_own(HOST, own)
    assert NESTED.is_own(HOST, f"{own}/x/y")
    assert not NESTED.is_own(HOST, f"{own}x")
    assert not NESTED.is_own(HOST, f"/x{own}")
    assert not NESTED.is_own(HOST, own.upper())


_BAD: list[tuple[list[dict[str, Any]], str]] = [
    ([{"prefix": "/a"}, {"prefix": "/a"}], "prefix"),
    ([{"prefix": "/a"}, {"prefix": "/a/"}], "prefix"),
    ([{"prefix": "/a", "name": "x"}, {"prefix": "/b", "name": "x"}], "name"),
    ([{"prefix": "/a//b"}], "empty"),
    ([{"prefix": "/a/../b"}], "no dot segments"),
    *(([{"prefix": own}], "never routed") for own in (*OWN_PREFIXES, "/internal") if "." not in own),
    ([{"prefix": "/internal/accounts"}], "never routed"),
    ([{"prefix": "/auth/login"}], "never routed"),
    ([{"prefix": "/a", "methods": []}], "methods"),
    ([{"prefix": "/a", "methods": ["GET", "BREW"]}], "methods"),
    ([{"prefix": "/a", "methods": ["get"]}], "methods"),
    ([{"prefix": "/a", "methods": ["GET"], "scopes": {"POST": ["orders:write"]}}], "not among its methods"),
    ([{"prefix": "/a", "scopes": {"GET": ["orders:raed"]}}], "no role grants"),
    ([{"prefix": "/a", "auth": "public", "methods": ["GET"], "scopes": {"GET": ["orders:read"]}}], "public"),
    ([{"prefix": "/a", "auth": "public"}], "public_write"),
    ([{"prefix": "/a", "auth": "optional"}], "public_write"),
    ([{"prefix": "/a", "auth": "optional", "scopes": {"POST": ["orders:write"]}}], "public_write"),
]


@pytest.mark.parametrize(("routes", "said"), _BAD, ids=lambda value: str(value)[:60])
def test_a_table_that_is_not_clear_does_not_start(routes: list[dict[str, Any]], said: str) -> None:
    """R-73: the one line says which route."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        table(*routes)
    assert "route" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "route",
    [
        {"auth": "public", "methods": ["GET", "HEAD", "OPTIONS"]},
        {"auth": "public", "public_write": True},
        {"auth": "optional", "public_write": True},
        {"auth": "optional", "scopes": {"GET": [], "*": ["orders:write"]}},
        {"auth": "optional", "methods": ["GET"]},
        {"auth": "required"},
    ],
    ids=str,
)
def test_what_anybody_may_write_takes_an_explicit_word(route: dict[str, Any]) -> None:
    assert table({"prefix": "/a", **route}).find_route(HOST, "/a", "GET") is not None


def _somebody(*scopes: str) -> Identity:
    return Identity(Principal("alice", "s", "j", "web", (), frozenset(scopes), 0, (), cover(())))


def _route(**changes: Any) -> Route:  # noqa: ANN401 - as in the configuration file
    found = table({"prefix": "/a", **changes}).find_route(HOST, "/a", "GET")
    assert found is not None
    return found


SCOPES = {"GET": ["orders:read"], "*": ["orders:read", "orders:write"]}


@pytest.mark.parametrize(
    ("auth", "method", "identity", "why"),
    [
        ("required", "GET", None, Reason.NO_CREDENTIALS),
        ("required", "GET", _somebody(), Reason.SCOPE_MISSING),
        ("required", "GET", _somebody("orders:read"), None),
        ("required", "POST", _somebody("orders:read"), Reason.SCOPE_MISSING),
        ("required", "POST", _somebody("orders:write"), Reason.SCOPE_MISSING),
        ("required", "POST", _somebody("orders:read", "orders:write", "x"), None),
        ("required", "GET", _somebody("orders"), Reason.SCOPE_MISSING),
        ("required", "GET", _somebody("ORDERS:READ"), Reason.SCOPE_MISSING),
        ("optional", "GET", None, Reason.NO_CREDENTIALS),
        ("optional", "GET", _somebody(), Reason.SCOPE_MISSING),
        ("optional", "GET", _somebody("orders:read"), None),
    ],
)
def test_an_identity_needs_every_scope_that_the_method_asks_for(
    auth: str, method: str, identity: Identity | None, why: Reason | None
) -> None:
    refusal = authorize(_route(auth=auth, scopes=SCOPES).demands[method], identity, "/a", CLOCK)
    assert (refusal.reason if refusal else None) is why
    if why is Reason.SCOPE_MISSING:
        assert refusal is not None
        assert refusal.scope == " ".join(sorted(SCOPES.get(method, SCOPES["*"])))


@pytest.mark.parametrize("method", sorted(KNOWN_METHODS))
def test_nobody_in_particular_gets_where_no_identity_is_needed(method: str) -> None:
    for auth in ("public", "optional"):
        assert authorize(_route(auth=auth, public_write=True).demands[method], None, "/a", CLOCK) is None
    refusal = authorize(_route(auth="required").demands[method], None, "/a", CLOCK)
    assert refusal is not None
    assert refusal.reason is Reason.NO_CREDENTIALS
