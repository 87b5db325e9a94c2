"""R-260 to R-264: several applications behind one gateway, told apart by host, path and method."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import node as nodes
from tests.support.node import Node
from tests.support.raw import Message
from tests.support.upstream import Upstream

ORIGIN = "https://shop.example"


def entry(name: str, upstream: Upstream, /, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any setting of a route
    return {
        "name": name,
        "service": "orders",
        "prefix": "/",
        "upstreams": [upstream.url],
        "auth": "public",
        "public_write": True,
        **more,
    }


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    redis_url: str,
    upstream: Upstream,
    routes: list[dict[str, Any]],
    **sections: Any,  # noqa: ANN401 - any section
) -> AsyncIterator[Node]:
    async with nodes.running(nodes.settings(folder, redis_url, upstream.url, route=routes, **sections)) as node:
        yield node


async def ask(node: Node, line: str, host: str = "shop.example", fields: str = "", body: bytes = b"") -> Message:
    return await node.ask(f"{line} HTTP/1.1\r\nHost: {host}\r\n{fields}".encode("latin-1"), body)


async def test_one_gateway_serves_a_front_end_a_wiki_and_an_api(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-260, R-261."""
    routes = [
        entry("front", upstream, methods=["GET", "HEAD"], public_write=False),
        entry("api", upstream, prefix="/v1", auth="required", public_write=False),
        entry("wiki", upstream, hosts=["wiki.example"]),
    ]
    async with serving(tmp_path, redis_url, upstream, routes) as node:
        statuses = [
            (await ask(node, "GET /")).status,
            (await ask(node, "GET /assets/app.js")).status,
            (await ask(node, "GET /v1/orders")).status,
            (await ask(node, "GET /v1/orders", "wiki.example")).status,
            (await ask(node, "POST /", "wiki.example:8080", "Content-Length: 2\r\n", b"ab")).status,
            (await ask(node, "POST /", fields="Content-Length: 2\r\n", body=b"ab")).status,
            (await ask(node, "GET http://wiki.example/page", "wiki.example")).status,
        ]
        assert statuses == [200, 200, 401, 200, 200, 405, 200]
        reached = [(request.line.split()[1], request.value("x-forwarded-host")) for request in upstream.requests]
        assert reached == [
            ("/", "shop.example"),
            ("/assets/app.js", "shop.example"),
            ("/v1/orders", "wiki.example"),
            ("/", "wiki.example:8080"),
            ("/page", "wiki.example"),
        ]
        # The gateway's own calls win over the route for everything.
        assert (await ask(node, "GET /healthz", "wiki.example")).status == 200
        assert (await ask(node, "GET /.well-known/jwks.json")).status == 200
        assert (await ask(node, "GET /auth/me", "wiki.example")).status == 401
        assert (await ask(node, "GET /admin/routes")).status == 401
        for own in ("//admin/routes", "/%61dmin/routes", "/admin/", "/internal/accounts", "/admin;x/routes"):
            assert (await ask(node, f"GET {own}")).status in {400, 401, 404}, own
        assert len(upstream.requests) == len(reached)


async def test_the_own_calls_move_to_a_host_of_their_own(redis_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """R-261: the same paths on other hosts belong to routes."""
    server = {"own_host": "gate.example", "allowed_hosts": ["gate.example", "app.example"]}
    async with serving(tmp_path, redis_url, upstream, [entry("app", upstream)], server=server) as node:
        for path in ("/auth/me", "/admin/routes"):
            assert (await ask(node, f"GET {path}", "gate.example")).status == 401
            assert (await ask(node, f"GET {path}", "app.example")).status == 200
        assert (await ask(node, "POST /auth/token", "app.example", "Content-Length: 1\r\n", b"x")).status == 200
        assert [request.line.split()[1] for request in upstream.requests] == [
            "/auth/me",
            "/admin/routes",
            "/auth/token",
        ]
        assert (await ask(node, "GET /healthz", "10.0.0.1:8080")).status == 200
        assert (await ask(node, "GET /healthz", "gate.example")).status == 200
        assert (await ask(node, "GET /healthz", "app.example")).body != b'{"status":"alive"}'
        assert (await ask(node, "GET /healthz", "evil.example")).status == 404
        assert (await ask(node, "GET /", "evil.example")).status == 421
        assert len(upstream.requests) == 4


@pytest.mark.parametrize("claimed", [True, False])
async def test_an_options_probe_is_answered_unless_a_route_claims_the_root(
    redis_url: str,
    tmp_path: Path,
    upstream: Upstream,
    claimed: bool,  # noqa: FBT001 - a case
) -> None:
    """R-261, R-207: `OPTIONS *` is about the gateway, whatever the routes are."""
    server = {"allowed_hosts": ["shop.example"]}
    routes = [entry("front", upstream, prefix="/" if claimed else "/front")]
    async with serving(tmp_path, redis_url, upstream, routes, server=server) as node:
        assert (await ask(node, "OPTIONS /")).status == (200 if claimed else 204)
        assert len(upstream.requests) == claimed
        assert (await ask(node, "OPTIONS /", "evil.example")).status == 204
        assert (await ask(node, "OPTIONS *")).status == 204
        assert (await ask(node, "GET /", "evil.example")).status == 421
        assert len(upstream.requests) == claimed


async def test_a_route_for_reading_claims_the_root_for_every_method(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-261: it says itself which methods it takes."""
    async with serving(tmp_path, redis_url, upstream, [entry("front", upstream, methods=["GET"])]) as node:
        answer = await ask(node, "OPTIONS /")
        assert (answer.status, answer.values("allow")) == (405, ["GET"])


async def test_the_gateway_redirects_and_responds_itself(redis_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """R-262: without a service, whatever the method, and with a body that is not read."""
    routes: list[dict[str, Any]] = [
        {"name": "www", "prefix": "/", "hosts": ["example.org"], "redirect": {"to": "https://www.example.org"}},
        {"name": "robots", "prefix": "/robots.txt", "methods": ["GET", "HEAD"], "respond": {"body": "Disallow: /\n"}},
        {"name": "gone", "prefix": "/old", "respond": {"status": 410}},
        entry("front", upstream),
    ]
    async with serving(tmp_path, redis_url, upstream, routes) as node:
        client = await node.connect()
        for _ in range(2):  # the connection goes on
            await client.send(b"GET /a?b HTTP/1.1\r\nHost: example.org\r\n\r\n")
            answer = await client.message()
            assert (answer.status, answer.value("location")) == (308, "https://www.example.org/a?b")
            assert (answer.value("content-length"), answer.body) == ("0", b"")
            assert answer.values("x-request-id")
        client.close()
        answer = await ask(node, "POST /a", "example.org", "Content-Length: 100000\r\n", b"x" * 100_000)
        assert (answer.status, answer.value("location")) == (308, "https://www.example.org/a")
        answer = await ask(node, "GET /robots.txt")
        assert (answer.status, answer.body) == (200, b"Disallow: /\n")
        assert answer.value("content-type") == "text/plain; charset=utf-8"
        answer = await ask(node, "HEAD /robots.txt")
        assert (answer.status, answer.value("content-length"), answer.body) == (200, "12", b"")
        assert (await ask(node, "POST /robots.txt")).status == 405
        assert (await ask(node, "DELETE /old/1")).status == 410
        assert upstream.requests == []


async def test_what_is_for_some_addresses_is_a_403_for_others(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-264: before anything is asked of the client's token."""
    rule = {"allow_addresses": ["192.0.2.0/24"]}
    routes = [entry("inner", upstream, prefix="/inner", **rule), entry("rest", upstream)]
    server = {"trusted_proxies": ["127.0.0.0/8"]}
    async with serving(tmp_path, redis_url, upstream, routes, server=server, admin=rule) as node:
        inside, outside = "X-Forwarded-For: 192.0.2.7\r\n", "X-Forwarded-For: 198.51.100.1\r\n"
        for path, let_in in (("/inner/x", 200), ("/admin/routes", 401)):
            assert (await ask(node, f"GET {path}", fields=inside)).status == let_in
            for fields in (outside, "X-Forwarded-For: nobody\r\n", ""):
                answer = await ask(node, f"GET {path}", fields=fields)
                assert (answer.status, json.loads(answer.body)["code"]) == (403, "address_refused")
        assert (await ask(node, "GET /x", fields=outside)).status == 200
        assert len(upstream.requests) == 2


async def test_each_method_of_a_prefix_has_the_pages_of_its_own_route(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-260, R-181: a preflight is judged by the route of the request that it asks about."""
    routes = [
        entry("read", upstream, methods=["GET"], allowed_origins=[ORIGIN]),
        entry("write", upstream, methods=["PUT"], allowed_origins=[]),
        entry("other", upstream, hosts=["other.example"], methods=["PUT"], allowed_origins=[ORIGIN]),
    ]
    async with serving(tmp_path, redis_url, upstream, routes) as node:
        for method, host, status in (
            ("GET", "shop.example", 204),
            ("PUT", "shop.example", 403),
            ("PUT", "other.example", 204),
        ):
            fields = f"Origin: {ORIGIN}\r\nAccess-Control-Request-Method: {method}\r\n"
            answer = await ask(node, "OPTIONS /x", host, fields)
            assert (answer.status, bool(answer.values("access-control-allow-origin"))) == (status, status == 204)
            answer = await ask(node, f"{method} /x", host, f"Origin: {ORIGIN}\r\n")
            assert bool(answer.values("access-control-allow-origin")) == (status == 204)


async def test_plain_http_is_led_to_https_and_health_is_not(redis_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """R-263."""
    server = {
        "redirect_http": True,
        "trusted_proxies": ["127.0.0.0/8"],
        "public_url": "https://gate.example",
        "allowed_origins": [ORIGIN],
    }
    async with serving(
        tmp_path, redis_url, upstream, [entry("a", upstream, hosts=["a.example"])], server=server
    ) as node:
        for host, line, status in (
            ("a.example", "GET /x?y", 308),
            ("gate.example", "GET /auth/me", 308),
            ("evil.example", "GET /x", 421),
            ("10.0.0.1", "GET /healthz", 200),
        ):
            answer = await ask(node, line, host)
            assert answer.status == status
            expected = [f"https://{host}{line.split()[1]}"] if status == 308 else []
            assert answer.values("location") == expected
        assert upstream.requests == []
        assert (await ask(node, "GET /x", "a.example", "X-Forwarded-Proto: https\r\n")).status == 200


async def test_a_front_proxy_that_asks_for_a_host_gets_the_route_of_that_host(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-260, R-261: forward-auth, with the own calls on a host of their own."""
    server = {"own_host": "gate.example", "trusted_proxies": ["127.0.0.0/8"], "forwarded_host": True}
    routes: list[dict[str, Any]] = [
        entry("open", upstream, hosts=["open.example"]),
        entry("shut", upstream, hosts=["shut.example"], auth="required", public_write=False),
        {"name": "fixed", "prefix": "/", "hosts": ["fixed.example"], "respond": {}},
    ]
    async with serving(tmp_path, redis_url, upstream, routes, server=server) as node:
        for held, status in (("open.example", 200), ("shut.example", 401), ("fixed.example", 404), ("x.example", 404)):
            fields = f"X-Forwarded-Host: {held}\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /a\r\n"
            for host in ("gateway:8080", held):
                answer = await ask(node, "GET /auth/verify", host, fields)
                assert answer.status == status, (held, host)
        assert upstream.requests == []
