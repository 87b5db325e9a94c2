"""R-266: a rewritten path reaches nothing that another route of its service guards more strictly."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.edge.head import Peer, RequestHeadReader
from lockgate.errors import ConfigurationError, Reason, Refusal
from lockgate.policy.routes import RouteTable, find_route
from lockgate.settings import LimitSettings, ServerSettings, Settings
from lockgate.views import route_json
from tests.support.heads import outcome

READER, PEER = RequestHeadReader(ServerSettings(), LimitSettings()), Peer("192.0.2.1", trusted=False)
SHOP = "http://10.0.0.1:80"
ROLES = {"customer": ["orders:read"], "admin": ["orders:read", "orders:write"]}
ORDERS: dict[str, Any] = {"prefix": "/orders", "scopes": {"*": ["orders:read"]}}
PUBLIC: dict[str, Any] = {"prefix": "/public", "strip_prefix": True, "auth": "public", "methods": ["GET"]}
GUARDED: dict[str, Any] = {"prefix": "/public/orders", "scopes": {"*": ["orders:read"]}, "replace_prefix": "/orders"}


def table(routes: dict[str, dict[str, Any]], **sections: Any) -> RouteTable:  # noqa: ANN401 - any section
    entries = [{"name": name, "upstreams": [SHOP], **route} for name, route in routes.items()]
    content: dict[str, Any] = {"roles": ROLES, "route": entries, **sections}
    return RouteTable.from_settings(Settings(**content))


def sent(found: RouteTable, path: str, method: str = "GET", host: str = "a.example") -> str | Reason:
    """The path that a service would get, or why it gets none."""
    request = outcome(READER, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), PEER)
    if isinstance(request, Reason):
        return request
    route = find_route(found, request)
    if isinstance(route, Refusal):
        return route.reason
    return request.path if route.rewrite is None else route.rewrite.rewrite_path(request.path)


@pytest.mark.parametrize(
    ("route", "path", "at_service"),
    [
        ({"strip_prefix": True}, "/api/a/b", "/a/b"),
        ({"strip_prefix": True}, "/api", "/"),
        ({"strip_prefix": True}, "/api/", "/"),
        ({"strip_prefix": True}, "//api//a%7E;v=1/b%20c", "/a~;v=1/b%20c"),
        ({"strip_prefix": True, "prefix": "/api/v1/"}, "/api/v1/a", "/a"),
        ({"strip_prefix": True, "encoded_slashes": True}, "/api/a%2fb", "/a%2Fb"),
        ({"replace_prefix": "/v2"}, "/api/a", "/v2/a"),
        ({"replace_prefix": "/v2/"}, "/api", "/v2"),
        ({"replace_prefix": "/api/v2"}, "/api/api", "/api/v2/api"),
        ({"replace_prefix": "/v2", "prefix": "/"}, "/", "/v2/"),
        ({"replace_prefix": "/grüße"}, "/api/a", "/gr%C3%BC%C3%9Fe/a"),
        ({"upstreams": [f"{SHOP}/base"]}, "/api/a", "/base/api/a"),
        ({"upstreams": [f"{SHOP}/base"], "prefix": "/"}, "/", "/base/"),
        ({"upstreams": [f"{SHOP}/base"], "strip_prefix": True}, "/api", "/base"),
        ({"upstreams": [f"{SHOP}/base/x"], "replace_prefix": "/v2"}, "/api/a", "/base/x/v2/a"),
        ({}, "/api/a", "/api/a"),
    ],
)
def test_a_service_gets_the_rest_of_the_path(route: dict[str, Any], path: str, at_service: str) -> None:
    assert sent(table({"api": {"prefix": "/api", **route}}), path) == at_service


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"strip_prefix": True, "prefix": "/"}, "route 'api': strip_prefix has nothing to remove"),
        ({"replace_prefix": "/"}, "route 'api': replace_prefix = '/' is written as strip_prefix = true"),
        ({"replace_prefix": "/%61pi"}, "route 'api': replace_prefix /api is the prefix itself"),
        ({"replace_prefix": "/../x"}, "route 'api': replace_prefix '/../x' is no path"),
        ({"replace_prefix": "/a//b"}, "route 'api': replace_prefix .* empty segment"),
        ({"replace_prefix": "/a%2Fb"}, "route 'api': replace_prefix .* coded slash"),
        ({"replace_prefix": "/a?b"}, "route 'api': replace_prefix .* is no path"),
        ({"replace_prefix": "/a;b"}, "route 'api': replace_prefix /a;b: some services drop"),
        ({"replace_prefix": "/a%3bb"}, "route 'api': replace_prefix /a%3Bb: some services drop"),
        ({"replace_prefix": "/internal"}, "route 'api': its service would get /internal, which is never routed"),
        ({"replace_prefix": "/%69nternal/x"}, "never routed"),
        ({"upstreams": [f"{SHOP}/internal"], "strip_prefix": True}, "would get /internal, which is never"),
        ({"upstreams": [f"{SHOP}/base"], "replace_prefix": "/internal"}, "would get /base/internal, which is never"),
        ({"upstreams": [SHOP, "http://10.0.0.2:80/b"]}, "route 'api': its upstreams have different paths, / and /b"),
    ],
)
def test_a_rewrite_that_says_nothing_or_two_things_does_not_start(route: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        table({"api": {"prefix": "/api", **route}})


def test_addresses_elsewhere_have_one_path_too() -> None:
    upstreams = {"api": [f"{SHOP}/a", f"{SHOP}/b"]}
    with pytest.raises(ConfigurationError, match="route 'api': its upstreams have different paths, /a and /b"):
        table({"api": {"prefix": "/api"}}, upstreams=upstreams)
    assert sent(table({"api": {"prefix": "/api"}}, upstreams={"api": [f"{SHOP}/a"]}), "/api/x") == "/a/api/x"


TRICKS = [
    ("/public/internal", Reason.NO_ROUTE),
    ("/public/internal/", Reason.NO_ROUTE),
    ("/public/internal/passwords", Reason.NO_ROUTE),
    ("//public//internal/x", Reason.NO_ROUTE),
    ("/public/%69nternal/x", Reason.NO_ROUTE),
    ("/public%2Finternal/x", Reason.BAD_TARGET),
    ("/public%2f%2Finternal/x", Reason.BAD_TARGET),
    ("/public/internal%2Fx", Reason.BAD_TARGET),
    ("/public/%2Finternal/x", Reason.BAD_TARGET),
    ("/public/internal;v=1", Reason.BAD_TARGET),
    ("/public/internal%3Bv=1/x", Reason.BAD_TARGET),
    ("/public;x/internal", Reason.NO_ROUTE),  # another segment than that of the prefix
    ("/public/;x/internal", Reason.BAD_TARGET),
    ("/public/a/../internal", Reason.BAD_TARGET),
    ("/public/a%2F..%2Finternal", Reason.BAD_TARGET),
    ("/public/%252Finternal", Reason.BAD_TARGET),
    ("/public\\internal", Reason.BAD_TARGET),
]


@pytest.mark.parametrize("slashes", [False, True])
@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize(("path", "reason"), TRICKS)
def test_no_spelling_of_a_stripped_path_reaches_the_calls_that_no_route_has(
    path: str, reason: Reason, *, front: bool, slashes: bool
) -> None:
    """R-266."""
    routes: dict[str, dict[str, Any]] = {"public": {**PUBLIC, "encoded_slashes": slashes}}
    if front:  # with a route for everything else, which goes elsewhere
        routes["front"] = {"prefix": "/", "upstreams": ["http://10.0.0.9:80"], "encoded_slashes": slashes}
        reason = Reason.BAD_TARGET if ";x/" in path else reason
    assert sent(table(routes), path) is reason
    assert sent(table(routes), "/public/internals") == "/internals"
    assert sent(table(routes), "/public/a/internal") == "/a/internal"


@pytest.mark.parametrize(
    ("upstream", "route", "path"),
    [
        (f"{SHOP}/base", {"strip_prefix": True}, "/api/internal/x"),  # where the service serves below /base
        (SHOP, {"strip_prefix": True, "hosts": ["*.a.example"]}, "/api/internal/x"),
        (f"{SHOP}/base", {"prefix": "/", "strip_prefix": False}, "/internal/x"),
    ],
)
def test_nor_does_one_with_a_base_or_on_some_hosts(upstream: str, route: dict[str, Any], path: str) -> None:
    found = table({"api": {"prefix": "/api", "upstreams": [upstream], **route}})
    assert sent(found, path, host="b.a.example") is Reason.NO_ROUTE
    assert sent(found, path.replace("internal", "other"), host="b.a.example") == path.replace(
        "internal", "other"
    ).replace("/api", "").join([upstream.removeprefix(SHOP), ""])


def test_another_route_may_have_that_path_for_a_service_of_its_own() -> None:
    other = "http://10.0.0.9:80"
    routes: dict[str, dict[str, Any]] = {
        "api": {"prefix": "/api", "strip_prefix": True, "methods": ["GET"]},
        "internal": {"prefix": "/api/internal", "upstreams": [other]},
        "writes": {"prefix": "/api", "methods": ["PUT"], "upstreams": [other]},
    }
    assert sent(table(routes), "/api/internal/x") == "/api/internal/x"
    assert sent(table({**routes, "internal": {"prefix": "/x"}}), "/api/internal/x") is Reason.METHOD_NOT_ALLOWED
    assert sent(table({**routes, "internal": {"prefix": "/x"}}), "/api/internal/x", "PUT") == "/api/internal/x"


AROUND: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "stripped, above a guarded path": (
        {"orders": ORDERS, "public": PUBLIC},
        r"'public' and 'orders' .* by /public/orders of 'public' .* get /orders there, .* \(by its auth\)",
    ),
    "replaced, at a guarded path": (
        {"orders": ORDERS, "public": {**PUBLIC, "strip_prefix": False, "replace_prefix": "/orders"}},
        "by /public of 'public' a client would get /orders there",
    ),
    "replaced, below a guarded path": (
        {"orders": ORDERS, "public": {**PUBLIC, "strip_prefix": False, "replace_prefix": "/orders/1"}},
        "would get /orders/1 there, which 'orders' guards",
    ),
    "stripped, the guarded one too": (
        {"orders": {**ORDERS, "prefix": "/guarded", "strip_prefix": True}, "public": PUBLIC},
        "would get / there, which 'orders' guards",
    ),
    "on another host": (
        {"orders": {**ORDERS, "hosts": ["a.example"]}, "public": {**PUBLIC, "hosts": ["b.example"]}},
        "by /public/orders of 'public'",
    ),
    "by a base": (
        {"orders": ORDERS, "public": {**PUBLIC, "upstreams": [f"{SHOP}/orders"]}},
        "would get /orders there",
    ),
    "by another spelling of the address": (
        {"orders": {**ORDERS, "upstreams": ["http://shop:80"]}, "public": {**PUBLIC, "upstreams": ["http://SHOP:80"]}},
        "would get /orders there",
    ),
    "by the service's name at another address": (
        {"orders": ORDERS, "public": {**PUBLIC, "service": "orders", "upstreams": ["http://10.0.0.2:80/mounted"]}},
        "would get /orders there",
    ),
    "a plain route, where a rewrite leads": (
        {
            "front": {"prefix": "/", "auth": "public", "methods": ["GET"]},
            "admin": {"prefix": "/x", "replace_prefix": "/y"},
        },
        "routes 'front' and 'admin' .* by /y of 'front'",
    ),
    "a plain route for everything": (
        {
            "front": {"prefix": "/", "auth": "public", "methods": ["GET"]},
            "admin": {"prefix": "/x", "strip_prefix": True},
        },
        "routes 'front' and 'admin' .* by / of 'front'",
    ),
    "a method that the other does not take": (
        {"orders": {"prefix": "/orders", "methods": ["GET"]}, "all": {"prefix": "/all", "strip_prefix": True}},
        r"'orders' guards more strictly \(it takes no HEAD\)",
    ),
    "through a narrower one that takes other methods": (
        {
            "orders": ORDERS,
            "put": {"prefix": "/orders/1", "methods": ["PUT"]},
            "public": {**PUBLIC, "strip_prefix": False, "replace_prefix": "/orders/1"},
        },
        "'public' and 'orders'",
    ),
}


@pytest.mark.parametrize("case", AROUND)
def test_a_rewrite_around_the_demands_of_another_route_does_not_start(case: str) -> None:
    """R-266."""
    routes, said = AROUND[case]
    with pytest.raises(ConfigurationError, match=said):
        table(routes)


@pytest.mark.parametrize(
    ("stricter", "word"),
    [
        ({"scopes": {"GET": ["orders:read"]}}, "scopes"),
        ({"roles": ["admin"]}, "roles"),
        ({"amr": ["pwd"]}, "amr"),
        ({"max_auth_age_s": 300}, "max_auth_age_s"),
        ({"email_verified": True}, "email_verified"),
        ({"owner": "/orders/{sub}"}, "owner"),
        ({"rate": "10/s per user"}, "rate"),
        ({"allow_addresses": ["10.0.0.0/8"]}, "allow_addresses"),
        ({"deny_addresses": ["10.0.0.0/8"]}, "deny_addresses"),
    ],
)
def test_each_demand_counts(stricter: dict[str, Any], word: str) -> None:
    """R-266."""
    routes: dict[str, dict[str, Any]] = {
        "orders": {"prefix": "/orders", **stricter},
        "api": {"prefix": "/api", "strip_prefix": True},
    }
    with pytest.raises(ConfigurationError, match=rf"'orders' guards more strictly \(by its .*{word}"):
        table(routes)
    same = {**stricter, **({"owner": "/api/orders/{sub}"} if "owner" in stricter else {})}
    assert table({**routes, "api": {**routes["api"], **same}})


@pytest.mark.parametrize(
    ("rates", "stricter", "is_enough"),
    [
        (["5/s per user"], ["10/s per user"], True),
        (["20/s per user"], ["10/s per user"], False),
        (["10/min per user"], ["10/s per user"], False),
        (["10/s per address"], ["10/s per user"], False),
        (["10/s per user", "9/s per user with role admin"], ["10/s per user"], True),
        (["10/s per user", "90/s per user with role admin"], ["10/s per user"], False),
        (["10/s per user", "90/s per user with role admin"], ["10/s per user", "90/s per user with role admin"], True),
        (["10/s per user"], ["10/s per user", "90/s per user with role admin"], False),
    ],
)
def test_rates_are_compared(rates: list[str], stricter: list[str], *, is_enough: bool) -> None:
    routes: dict[str, dict[str, Any]] = {
        "orders": {"prefix": "/orders", "rate": stricter},
        "api": {"prefix": "/api", "strip_prefix": True, "rate": rates},
    }
    if is_enough:
        assert table(routes)
    else:
        with pytest.raises(ConfigurationError, match="by its rate"):
            table(routes)


APART: dict[str, dict[str, dict[str, Any]]] = {
    "a route in between": {"orders": ORDERS, "public": PUBLIC, "guarded": GUARDED},
    "another one in between, to another service": {
        "orders": ORDERS,
        "public": PUBLIC,
        "none": {"prefix": "/public/orders", "auth": "public", "methods": ["GET"], "upstreams": ["http://10.0.0.9:80"]},
    },
    "another service": {"orders": ORDERS, "public": {**PUBLIC, "upstreams": ["http://10.0.0.2:80"]}},
    "another base": {"orders": ORDERS, "public": {**PUBLIC, "upstreams": [f"{SHOP}/public-part"]}},
    "the same demands": {
        "orders": ORDERS,
        "api": {"prefix": "/api", "strip_prefix": True, "scopes": {"*": ["orders:read"]}},
    },
    "stronger ones": {
        "orders": {"prefix": "/orders", "auth": "optional", "methods": ["GET"]},
        "api": {"prefix": "/api", "methods": ["GET"], "strip_prefix": True},
    },
    "two names of one place": {
        "one": {"prefix": "/v1", "strip_prefix": True},
        "two": {"prefix": "/now", "strip_prefix": True},
    },
    "methods apart": {
        "read": {"prefix": "/", "auth": "public", "methods": ["GET"]},
        "write": {"prefix": "/api", "methods": ["POST"], "strip_prefix": True},
    },
    "no rewrite at all": {"front": {"prefix": "/", "auth": "public", "methods": ["GET"]}, "orders": ORDERS},
}


@pytest.mark.parametrize("odd", range(4))
def test_one_route_among_many_that_are_alike_is_found(odd: int) -> None:
    """R-266."""
    routes: dict[str, dict[str, Any]] = {f"r{n}": {"prefix": f"/p{n}", "strip_prefix": True} for n in range(4)}
    assert table(routes)
    routes[f"r{odd}"] |= {"scopes": {"PUT": ["orders:write"]}}
    with pytest.raises(ConfigurationError, match=f"and 'r{odd}' lead to the same service: .*by its scopes"):
        table(routes)


@pytest.mark.parametrize("case", APART)
def test_routes_that_open_nothing_new_do_start(case: str) -> None:
    assert table(APART[case])


def test_what_a_route_in_between_takes_is_judged_by_it() -> None:
    found = table(APART["a route in between"])
    route = found.find_route("a.example", "/public/orders/1", "GET")
    assert route is not None
    assert route.demands["GET"].scopes == {"orders:read"}
    assert sent(found, "/public/orders/1") == "/orders/1"
    for trick in ("/public/orders%2F1", "/public/orders;x/1", "/public/orders%3Bx"):
        assert sent(found, trick) is Reason.BAD_TARGET
    with_slashes = table({**APART["a route in between"], "public": {**PUBLIC, "encoded_slashes": True}})
    assert sent(with_slashes, "/public/orders%2F1") is Reason.BAD_TARGET


def test_a_call_of_a_service_is_found_by_the_path_of_clients() -> None:
    found = table(
        {
            "orders": {"prefix": "/v1/orders", "service": "shop", "replace_prefix": "/orders"},
            "rest": {"prefix": "/shop", "service": "shop", "strip_prefix": True, "upstreams": [f"{SHOP}/base"]},
            "plain": {"prefix": "/plain", "service": "other", "upstreams": ["http://10.0.0.9:80"]},
        }
    )

    def asked(service: str, path: str, method: str = "GET") -> str | None:
        call = found.find_service_call(service, path, method)
        return call and call[0]

    assert asked("shop", "/orders/{id}") == "/v1/orders/{id}"
    assert asked("shop", "/") == "/shop/"
    assert asked("shop", "/other") == "/shop/other"
    assert asked("shop", "/internal/x") is None
    assert asked("other", "/plain/x") == "/plain/x"
    assert asked("other", "/shop/x") is None
    assert asked("other", "/plain/x", "TRACE") is None


def test_administrators_see_what_becomes_of_a_prefix() -> None:
    """R-267."""
    routes = table({"a": {"prefix": "/a", "strip_prefix": True}, "b": {"prefix": "/b", "replace_prefix": "/v2"}}).routes
    assert [route_json(route, {})["prefix_at_service"] for route in routes] == ["/", "/v2"]
