"""R-260, R-261: a request gets the route of its host, the longest prefix there, and its method, and no other."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.edge.wire import WireError
from lockgate.errors import Refusal
from lockgate.policy.own_paths import OWN_PREFIXES
from lockgate.policy.route import Route
from lockgate.policy.routes import RouteTable, find_route
from lockgate.settings import Settings
from tests.support.heads import request

ADDRESS = "http://127.0.0.1:9"
OWN_HOST = "gate.example"


def table(*routes: dict[str, Any], **server: Any) -> RouteTable:  # noqa: ANN401 - any setting
    entries = [{"name": f"r{number}", "upstreams": [ADDRESS], **route} for number, route in enumerate(routes)]
    content: dict[str, Any] = {"route": entries, "server": server}
    return RouteTable.from_settings(Settings(**content))


def outcome(found: Route | Refusal) -> str:
    return found.name if isinstance(found, Route) else found.reason.name


def asked(routes: RouteTable, host: str, path: str = "/x", method: str = "GET") -> str:
    """The name of the route of a request, or of the reason of its refusal."""
    try:
        return outcome(find_route(routes, request(method, path, host)))
    except WireError as error:
        return error.reason.name


HOSTS: Final = table(
    {"name": "wiki", "prefix": "/", "hosts": ["wiki.example.org"]},
    {"name": "tenants", "prefix": "/", "hosts": ["*.example.org"]},
    {"name": "eu", "prefix": "/x", "hosts": ["*.eu.example.org", "eu.example.org"]},
    {"name": "files", "prefix": "/x/files"},
    {"name": "read", "prefix": "/notes", "methods": ["GET", "HEAD"]},
    {"name": "write", "prefix": "/notes", "methods": ["PUT"]},
)


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("wiki.example.org", "/x", "wiki"),
        ("WIKI.Example.ORG", "/x", "wiki"),
        ("wiki.example.org.", "/x", "wiki"),
        ("wiki.example.org:8443", "/x", "wiki"),
        ("wiki.example.org.:80", "/x", "wiki"),
        ("wiki.example.org", "/x/files", "wiki"),
        ("a.example.org", "/x/files/1", "tenants"),
        ("a.b.example.org", "/", "tenants"),
        ("a.wiki.example.org", "/x", "tenants"),
        ("a.eu.example.org", "/x/files", "eu"),
        ("a.b.eu.example.org", "/x", "eu"),
        ("a.eu.example.org", "/y", "tenants"),
        ("eu.example.org", "/x", "eu"),
        ("eu.example.org", "/y", "tenants"),
        ("example.org", "/x", "NO_ROUTE"),
        ("example.org", "/x/files", "files"),
        ("xexample.org", "/x", "NO_ROUTE"),
        ("example.org.evil.example", "/x", "NO_ROUTE"),
        ("evil.example", "/x/files", "files"),
        ("10.0.0.1", "/x/files", "files"),
        ("[::1]:8080", "/x/files", "files"),
    ],
)
def test_the_most_specific_host_with_a_route_for_the_path_decides(host: str, path: str, name: str) -> None:
    """R-260."""
    assert asked(HOSTS, host, path) == name


def test_a_target_with_a_host_counts_instead_of_the_host_field() -> None:
    """R-260 (RFC 9112 section 3.2.2): the two must agree, so neither can choose another route."""
    assert asked(HOSTS, "wiki.example.org", "http://WIKI.example.org:80/x") == "wiki"
    assert asked(HOSTS, "a.example.org", "http://wiki.example.org/x") == "BAD_HOST"


def test_two_routes_may_share_a_prefix_where_their_methods_differ() -> None:
    """R-260."""
    found = {method: asked(HOSTS, "h", "/notes/1", method) for method in ("GET", "HEAD", "PUT", "DELETE", "BREW")}
    expected = {"GET": "read", "HEAD": "read", "PUT": "write", "DELETE": "METHOD_NOT_ALLOWED", "BREW": "UNKNOWN_METHOD"}
    assert found == expected
    refused = find_route(HOSTS, request("DELETE", "/notes/1", "h"))
    assert isinstance(refused, Refusal)
    assert refused.headers == (("Allow", "GET, HEAD, PUT"),)


def test_a_method_leads_to_no_shorter_prefix_and_to_no_other_host() -> None:
    """R-260: attack: a DELETE of what only may be read reaches a route that was meant for other paths."""
    routes = table(
        {"prefix": "/"},
        {"prefix": "/files/locked", "methods": ["GET"]},
        {"prefix": "/files", "methods": ["GET"], "hosts": ["a.example"]},
    )
    assert asked(routes, "b.example", "/files/locked/1", "DELETE") == "METHOD_NOT_ALLOWED"
    assert asked(routes, "a.example", "/files/locked/1", "DELETE") == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("host", ["gate.example", "h", "10.0.0.1", "localhost"])
@pytest.mark.parametrize("own", [*OWN_PREFIXES, "/internal"])
def test_a_route_for_everything_gets_nothing_of_the_gateways_own(own: str, host: str) -> None:
    """R-261."""
    routes = table({"prefix": "/"}, {"prefix": "/", "hosts": ["h"]})
    for path in (own, f"{own}/", f"{own}/x", own.replace("/", "//"), f"/%{ord(own[1]):x}{own[2:]}"):
        assert asked(routes, host, path) == "NO_ROUTE", path
        assert routes.is_own(host, own) == (own != "/internal")
    for path in (f"{own};x", f"{own};x/y", f"{own}%3Bx", f"{own}%2Fx", f"{own}%2fx;y"):
        assert asked(routes, host, path) == "BAD_TARGET", path
    assert asked(routes, host, f"{own}x") == ("r1" if host == "h" else "r0")


MOVED: Final = table(
    {"name": "site", "prefix": "/"},
    {"name": "app", "prefix": "/", "hosts": ["app.example"]},
    {"name": "legacy", "prefix": "/auth", "hosts": ["app.example"]},
    own_host=OWN_HOST,
)


@pytest.mark.parametrize("path", [*OWN_PREFIXES, "/auth/login"])
def test_the_gateways_own_calls_answer_on_a_host_of_their_own_alone(path: str) -> None:
    """R-261: their paths on other hosts belong to routes."""
    for host in (OWN_HOST, "GATE.example.", f"{OWN_HOST}:8443"):
        asking = request("GET", path, host)
        assert (asked(MOVED, host, path), MOVED.is_own(asking.host, path)) == ("NO_ROUTE", True)
    assert asked(MOVED, "app.example", path) == ("legacy" if path.startswith("/auth") else "app")
    assert asked(MOVED, "other.example", path) == "site"
    assert not MOVED.is_own("app.example", path)
    assert not MOVED.is_own("other.example", path)


@pytest.mark.parametrize("host", ["10.0.0.1", "10.0.0.1:8080", "[::1]:8080", "localhost", "LOCALHOST:1"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_that_ask_by_address_reach_the_health_calls_of_a_moved_gateway(host: str, path: str) -> None:
    """R-261."""
    for routes in (MOVED, table({"prefix": "/"}, own_host=OWN_HOST, allowed_hosts=[OWN_HOST])):
        canonical = request("GET", path, host).host
        assert asked(routes, host, path) == "NO_ROUTE"
        assert routes.is_own(canonical, path)
        assert not routes.is_own(canonical, "/admin")


@pytest.mark.parametrize("host", ["app.example", "other.example", OWN_HOST, "10.0.0.1"])
def test_the_question_of_a_front_proxy_and_of_a_probe_is_the_gateways_on_every_host(host: str) -> None:
    """R-261: a front proxy asks with the host of the request that it holds."""
    for path, method in (("/auth/verify", "GET"), ("/auth/verify/a/b", "POST"), ("*", "OPTIONS")):
        assert asked(MOVED, host, path, method) == "NO_ROUTE"
        assert MOVED.is_own(host, path)


@pytest.mark.parametrize("path", ["/internal", "/internal/accounts", "//internal/x", "/%69nternal/x"])
@pytest.mark.parametrize("host", ["app.example", "other.example", OWN_HOST, "10.0.0.1"])
def test_no_host_leads_to_the_internal_calls_of_services(host: str, path: str) -> None:
    """R-261: attack: with a route for everything, a client makes a call that only the gateway may make."""
    assert asked(MOVED, host, path) == "NO_ROUTE"
    assert not MOVED.is_own(host, path)
    for disguised in ("/internal;x/accounts", "/internal%2Faccounts", "/x/..%2finternal", "/internal%3B/x"):
        assert asked(MOVED, host, disguised) == "BAD_TARGET"


def test_a_host_that_is_not_allowed_reaches_no_route_by_the_target_of_a_probe() -> None:
    """R-260: the edge lets `OPTIONS /` and health calls through for every host."""
    routes = table({"prefix": "/"}, allowed_hosts=["a.example"])
    for host, name in (("a.example", "r0"), ("evil.example", "NO_ROUTE"), ("10.0.0.1", "NO_ROUTE")):
        assert asked(routes, host, "/", "OPTIONS") == name


# --- what a service may make of a path -------------------------------------------------------------------------------

SEGMENTS = (
    "a",
    "b",
    "admin",
    "internal",
    "auth",
    "x.y",
    "%61",
    "%2e%2e",
    "a%2Fb",
    "%2Fadmin",
    "admin%2fx",
    "..%2fadmin",
)
_PIECES = st.tuples(st.sampled_from([*SEGMENTS, ""]), st.sampled_from(["", "", ";v", "%3Bv", ";", ";v%2Fadmin"]))
_PREFIXES = ("/", "/a", "/a/b", "/a/admin", "/b")
_KNOWN_HOSTS = ("a.example", "b.a.example", "c.b.a.example", "gate.example", "10.0.0.1")
_ENTRIES: tuple[list[tuple[str, list[str]]], ...] = (
    [("/", [])],
    [("/", []), ("/a", []), ("/a/admin", ["a.example"])],
    [("/a", ["*.a.example"]), ("/a/b", []), ("/", ["b.a.example"])],
    [(prefix, hosts) for prefix in _PREFIXES for hosts in ([], ["a.example"], ["*.b.a.example"])],
)
_SERVERS: tuple[dict[str, Any], ...] = ({}, {"own_host": OWN_HOST})
_TABLES = tuple(
    table(*({"prefix": prefix, "hosts": hosts, "encoded_slashes": slashes} for prefix, hosts in entries), **server)
    for slashes in (True, False)
    for server in _SERVERS
    for entries in _ENTRIES
)


def readings(path: str) -> set[str]:
    """The paths that services make of a path: with `%2F` decoded, without parameters, with single slashes, or not."""
    found = {path}
    for _ in range(3):
        found |= {one.replace("%2F", "/").replace("%3B", ";") for one in found}
        found |= {re.sub(r"(?:;|%3B)[^/]*", "", one) for one in found}
        found |= {re.sub("/{2,}", "/", one) for one in found}
    return {one for one in found if one.startswith("/") and "//" not in one}


@given(pieces=st.lists(_PIECES, min_size=1, max_size=4), host=st.sampled_from(_KNOWN_HOSTS))
def test_a_service_sees_the_route_that_was_judged_whatever_it_makes_of_the_path(
    pieces: list[tuple[str, str]], host: str
) -> None:
    """R-261: also with a route for everything, and with routes of several hosts."""
    target = "".join(f"/{segment}{parameter}" for segment, parameter in pieces)
    for routes in _TABLES:
        try:
            asking = request("GET", target, host)
        except WireError:
            return
        found = find_route(routes, asking)
        if isinstance(found, Refusal):
            continue
        for path in readings(asking.path):
            assert routes.find_route(asking.host, path, "GET") is found, path
            assert not routes.is_own(asking.host, path), path
            assert not path.startswith("/internal/"), path
            assert path != "/internal"


@given(
    host=st.sampled_from(["a.example", "b.a.example", "c.b.a.example", "example", "x.example", "10.0.0.1"]),
    path=st.lists(st.sampled_from(["a", "b", "admin", "x"]), max_size=4).map(lambda parts: "/" + "/".join(parts)),
    routes=st.lists(
        st.tuples(
            st.sampled_from(_PREFIXES), st.sampled_from([None, "a.example", "*.example", "*.a.example", "b.a.example"])
        ),
        min_size=1,
        max_size=8,
        unique=True,
    ),
)
def test_the_tables_of_hosts_say_what_comparing_every_route_says(
    host: str, path: str, routes: list[tuple[str, str | None]]
) -> None:
    """R-260: against a reading of the rule that compares each route in turn."""
    entries = [{"prefix": prefix, "hosts": [pattern] if pattern else []} for prefix, pattern in routes]
    built = table(*entries)

    def fits(prefix: str, pattern: str | None) -> bool:
        on_host = pattern is None or pattern == host or (pattern.startswith("*.") and host.endswith(pattern[1:]))
        return on_host and (prefix in {"/", path} or path.startswith(f"{prefix}/"))

    def order(number: int) -> tuple[int, int, int]:
        prefix, pattern = routes[number]
        kind = 0 if pattern is None else 1 if pattern.startswith("*.") else 2
        return kind, len(pattern or ""), len(prefix)

    fitting = [number for number, (prefix, pattern) in enumerate(routes) if fits(prefix, pattern)]
    own = path == "/admin" or path.startswith("/admin/")
    expected = f"r{max(fitting, key=order)}" if fitting and not own else "NO_ROUTE"
    assert asked(built, host, path) == expected
