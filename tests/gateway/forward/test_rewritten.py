"""R-266, R-267: what a service gets whose paths are rewritten, and what its clients get back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.settings import Settings
from lockgate_trust import Verified, verify
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import Message, Wire, until
from tests.support.sockets import (
    closed,
    handshake,
    opened,
    opening,
    received,
    socket_service,
    socket_settings,
    verified,
)
from tests.support.upstream import OK, Upstream

PUBLIC: dict[str, Any] = {"service": "orders", "auth": "public", "public_write": True}


def entry(name: str, upstream: Upstream, /, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any setting of a route
    return {"name": name, "prefix": f"/{name}", "upstreams": [upstream.url], **PUBLIC, **more}


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    redis_url: str,
    upstream: Upstream,
    *routes: dict[str, Any],
    **sections: Any,  # noqa: ANN401 - any section
) -> AsyncIterator[Node]:
    async with nodes.running(nodes.settings(folder, redis_url, upstream.url, route=list(routes), **sections)) as node:
        yield node


def lines(upstream: Upstream) -> list[str]:
    return [request.line for request in upstream.requests]


async def test_the_signature_covers_what_the_service_gets(redis_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """R-266: the rewritten path with the client's query, and no other path."""
    routes = [
        entry("api", upstream, strip_prefix=True, auth="required"),
        entry("old", upstream, replace_prefix="/v2", auth="required"),
        entry("wiki", upstream, upstreams=[f"{upstream.url}/base"], auth="required"),
    ]
    expected = {"/api/a%7Eb?c=/api": "/a~b", "/old/a?c=/api": "/v2/a", "/wiki?c=/api": "/base/wiki"}
    async with serving(tmp_path, redis_url, upstream, *routes) as node:
        for target in expected:
            assert (await node.get(target, node.tokens.bearer(sub="ivan"))).status == 200
        assert lines(upstream) == [f"GET {path}?c=/api HTTP/1.1" for path in expected.values()]
        for request, path, asked in zip(upstream.requests, expected.values(), expected, strict=True):
            links, now = node.links("orders"), node.clock.now()
            given: Any = {"method": "GET", "query": "c=/api", "headers": request.fields, "now": now}
            assert not isinstance(verify(links, path=asked.partition("?")[0], **given), Verified)
            outcome = verify(links, path=path, **given)
            assert isinstance(outcome, Verified)
            assert outcome.caller.user_id == "ivan"


FOREIGN = "X-Forwarded-Prefix: /evil\r\nx-forwarded--prefix: /evil\r\nX_Forwarded_Prefix: /evil\r\n"


@pytest.mark.parametrize(
    ("route", "public_url", "told"),
    [
        ({"strip_prefix": True}, None, ["/api"]),
        ({"strip_prefix": True}, "https://shop.example/outer/", ["/outer/api"]),
        ({"strip_prefix": True, "prefix": "/api/gr%c3%bc%c3%9fe/"}, None, ["/api/gr%C3%BC%C3%9Fe"]),
        ({"replace_prefix": "/v2"}, None, []),
        ({}, None, []),
    ],
)
async def test_a_service_is_told_which_prefix_was_removed(  # noqa: PLR0913, PLR0917 - a route, and what is told of it
    redis_url: str, tmp_path: Path, upstream: Upstream, route: dict[str, Any], public_url: str | None, told: list[str]
) -> None:
    """R-267: and by the gateway alone, also from a trusted proxy."""
    server = {"public_url": public_url, "trusted_proxies": ["127.0.0.0/8"]}
    async with serving(tmp_path, redis_url, upstream, entry("api", upstream, **route), server=server) as node:
        assert (await node.get("/api/gr%c3%bc%c3%9fe/x", FOREIGN)).status == 200
    (request,) = upstream.requests
    assert [value for name, value in request.fields if "prefix" in name] == told


@pytest.mark.parametrize(
    "target",
    [
        "/public/internal/x",
        "/public%2Finternal/x",
        "/public/%2Finternal/x",
        "/public/internal%2Fx",
        "/public;x/internal/x",
        "/public/internal;x",
        "/public/%69nternal",
        "/public/orders/1",
        "/public//orders",
        "/public/orders%2F1",
        "/public/orders;x",
        "/public/x/..%2forders",
        "/public/../orders/1",
    ],
)
async def test_an_open_route_with_a_prefix_removed_leads_around_nothing(
    redis_url: str, tmp_path: Path, upstream: Upstream, target: str
) -> None:
    """R-266: neither to the calls that are never routed, nor to what another route of the service guards."""
    orders = {"auth": "required", "public_write": False}
    routes = [
        entry("public", upstream, strip_prefix=True, encoded_slashes=True),
        entry("orders", upstream, **orders),
        entry("guarded", upstream, prefix="/public/orders", replace_prefix="/orders", **orders),
    ]
    async with serving(tmp_path, redis_url, upstream, *routes) as node:
        assert (await node.get(target)).status in {400, 401, 404}
        assert (await node.get("/public/x")).status == 200
    assert lines(upstream) == ["GET /x HTTP/1.1"]


REDIRECTS = [
    # what the service says, and what the clients of the three routes get: strip, replace by /v2, base /base
    ("/login", "/api/login", "/login", "/login"),
    ("/", "/api/", "/", "/"),
    ("/?a=/b", "/api/?a=/b", "/?a=/b", "/?a=/b"),
    ("/api", "/api", "/api", "/api"),
    ("/api/login?x", "/api/login?x", "/api/login?x", "/api/login?x"),
    ("/apical", "/api/apical", "/apical", "/apical"),
    ("/v2/login", "/api/v2/login", "/old/login", "/v2/login"),
    ("/v2?a", "/api/v2?a", "/old?a", "/v2?a"),
    ("/v22", "/api/v22", "/v22", "/v22"),
    ("/base/wiki/a#b", "/api/base/wiki/a#b", "/base/wiki/a#b", "/wiki/a#b"),
    ("OWN/login", "/api/login", "/login", "/login"),
    ("OWN", "/api/", "/", "/"),
    ("OWN/v2/login", "/api/v2/login", "/old/login", "/v2/login"),
    ("OWN/base/wiki", "/api/base/wiki", "/base/wiki", "/wiki"),
    ("OWN//evil.example/", "/api/evil.example/", "/evil.example/", "/evil.example/"),
    ("//evil.example/", "//evil.example/", "//evil.example/", "//evil.example/"),
    ("/\\evil.example/", "/\\evil.example/", "/\\evil.example/", "/\\evil.example/"),
    ("https://elsewhere.example/login", *["https://elsewhere.example/login"] * 3),
    ("login", "login", "login", "login"),
    ("?page=2", "?page=2", "?page=2", "?page=2"),
]


@pytest.mark.parametrize(("said", "stripped", "replaced", "based"), REDIRECTS)
async def test_addresses_in_responses_are_those_of_clients(  # noqa: PLR0913, PLR0917 - three routes
    redis_url: str, tmp_path: Path, upstream: Upstream, said: str, stripped: str, replaced: str, based: str
) -> None:
    """R-267: paths alone and with the service's address, in each field that has addresses."""
    routes = [
        entry("api", upstream, strip_prefix=True),
        entry("old", upstream, replace_prefix="/v2"),
        entry("wiki", upstream, upstreams=[f"{upstream.url}/base"]),
    ]
    said = said.replace("OWN", upstream.url)
    fields = (
        f"Location: {said}\r\nContent-Location: {said}\r\nA: b\r\nLink: <{said}>; rel=next\r\nRefresh: 5; url={said}"
    )
    upstream.play(upstreams.recorder(f"HTTP/1.1 201 Made\r\n{fields}\r\nContent-Length: 2\r\n\r\nok".encode()))
    async with serving(tmp_path, redis_url, upstream, *routes) as node:
        for path, mapped in (("/api", stripped), ("/old", replaced), ("/wiki", based)):
            answer = await node.get(path)
            assert (answer.line, answer.body, answer.value("a")) == ("HTTP/1.1 201 Made", b"ok", "b")
            assert answer.value("location") == answer.value("content-location") == mapped
            assert answer.value("link") == f"<{mapped}>; rel=next"
            assert answer.value("refresh") == f"5; url={mapped}"


async def test_the_path_that_a_front_proxy_removes_stands_before_all(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-267: what the service made of `X-Forwarded-Prefix` has it already."""
    routes = [entry("api", upstream, strip_prefix=True)]
    server = {"public_url": "https://shop.example/outer"}
    async with serving(tmp_path, redis_url, upstream, *routes, server=server) as node:
        for said, mapped in (("/a", "/outer/api/a"), (f"{upstream.url}/a", "/outer/api/a"), ("/outer/api/a",) * 2):
            upstream.play(
                upstreams.recorder(f"HTTP/1.1 302 X\r\nLocation: {said}\r\nContent-Length: 0\r\n\r\n".encode())
            )
            await node.worker.path.services.upstreams[upstream.url].close()  # the next connection plays on
            assert (await node.get("/api")).value("location") == mapped


async def test_an_owner_is_found_in_the_path_of_the_client(redis_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """R-266: the condition is about what the client asks."""
    people = {"auth": "required", "public_write": False, "strip_prefix": True, "owner": "/people/users/{sub}"}
    async with serving(tmp_path, redis_url, upstream, entry("people", upstream, **people)) as node:
        mine = node.tokens.bearer(sub="ivan")
        assert (await node.get("/people/users/ivan/orders", mine)).status == 200
        for other in ("/people/users/olga", "/people/ivan", "/people/users/people/users/ivan"):
            assert (await node.get(other, mine)).code == "not_owner"
    assert lines(upstream) == ["GET /users/ivan/orders HTTP/1.1"]


async def test_a_front_proxy_gets_no_signature_for_a_path_that_is_rewritten_here(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-266: the proxy sends its own path, and no service has that."""
    routes = [entry("api", upstream, strip_prefix=True), entry("plain", upstream, prefix="/plain/x")]
    server = {"trusted_proxies": ["127.0.0.0/8"]}
    async with serving(tmp_path, redis_url, upstream, *routes, server=server) as node:
        told: dict[str, Message] = {}
        for target in ("/api/x", "/plain/x"):
            held = f"X-Forwarded-Method: GET\r\nX-Forwarded-Uri: {target}\r\n"
            told[target] = await node.ask(f"GET /auth/verify HTTP/1.1\r\n{held}")
    assert (told["/api/x"].status, told["/api/x"].code, told["/api/x"].values("signature")) == (404, "not_found", [])
    assert (told["/plain/x"].status, len(told["/plain/x"].values("signature"))) == (200, 1)


async def test_the_calls_of_the_gateway_go_below_the_path_of_an_address(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-266: the check of a password, signed for the path that the service gets."""
    upstream.play(upstreams.recorder(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"))
    routes, elsewhere = [entry("api", upstream)], {"users": [f"{upstream.url}/people"]}
    async with serving(tmp_path, redis_url, upstream, *routes, upstreams=elsewhere) as node:
        body = b'{"username":"ivan","password":"a long password"}'
        head = f"POST /auth/login HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        assert (await node.ask(head, body)).status == 503
        request = upstream.requests[0]
        path = request.line.split()[1]
        assert path.startswith("/people/internal/")
        outcome = verify(
            node.links("users"), method="POST", path=path, query="", headers=request.fields, now=node.clock.now()
        )
        assert isinstance(outcome, Verified)


async def test_a_check_goes_below_the_path_of_an_address(redis_url: str, tmp_path: Path) -> None:
    """R-266: two applications behind one address are well or not by themselves."""

    async def script(service: Upstream, wire: Wire) -> None:
        while True:
            request = await upstreams.next_request(wire)
            service.record(request)
            broken = request.line == "GET /b/healthz HTTP/1.1"
            await wire.send(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n" if broken else OK)

    async with upstreams.running(script) as service:
        routes = [
            entry(name, service, upstreams=[f"{service.url}/{name}"], strip_prefix=True, health="/healthz")
            for name in ("a", "b")
        ]
        async with serving(tmp_path, redis_url, service, *routes) as node:
            asked = {(await service.request()).line for _ in routes}
            assert asked == {"GET /a/healthz HTTP/1.1", "GET /b/healthz HTTP/1.1"}
            states = node.worker.path.services.upstream_states
            await until(lambda: states()[f"{service.url}/b"] == "down")
            assert (await node.get("/a/x")).status == 200
            assert (await node.get("/b/x")).code == "upstream_ejected"


def rewritten_sockets(folder: Path, redis_url: str, url: str, **more: Any) -> Settings:  # noqa: ANN401 - any setting
    route = {"name": "orders", "prefix": "/api", "upstreams": [url], "websocket": ["/api/live"], **more}
    return socket_settings(folder, redis_url, url, route=[route])


async def test_a_socket_is_opened_at_the_rewritten_path_and_closed_when_that_changes(
    redis_url: str, tmp_path: Path
) -> None:
    """R-266, R-267: signed like every request; a new rewrite leads elsewhere, so the client connects anew."""
    async with (
        socket_service() as service,
        nodes.running(rewritten_sockets(tmp_path, redis_url, service.url, strip_prefix=True)) as node,
    ):
        async with opened(node, service, node.tokens.token(), path="/api/live") as (client, at_service):
            (request,) = service.requests
            assert (request.path, request.headers["X-Forwarded-Prefix"]) == ("/live", "/api")
            assert isinstance(verified(node, request), Verified)
            await at_service.send("hello")
            assert await received(client) == "hello"
            change = node.worker.rule_change
            await change.prepare(rewritten_sockets(tmp_path, redis_url, service.url, replace_prefix="/v2"))
            change.take()
            assert await closed(client) == (1012, "route gone")
        async with opened(node, service, node.tokens.token(), path="/api/live"):
            assert service.requests[-1].path == "/v2/live"
        with pytest.raises(Exception, match="400"):  # the paths of sockets are those of clients
            await opening(node, node.tokens.token(), path="/api/v2/live")


async def test_a_denied_socket_leads_back_to_the_client(redis_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """R-267."""
    upstream.play(upstreams.recorder(b"HTTP/1.1 403 No\r\nContent-Location: /why\r\nContent-Length: 2\r\n\r\nno"))
    settings = rewritten_sockets(tmp_path, redis_url, upstream.url, strip_prefix=True)
    async with nodes.running(settings) as node:
        answer = await node.ask(handshake("/api/live") + node.tokens.bearer())
    assert (answer.status, answer.body, answer.value("content-location")) == (403, b"no", "/api/why")
    assert lines(upstream) == ["GET /live HTTP/1.1"]


async def test_a_reload_takes_a_rewrite(redis_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """R-292: and names it."""
    async with serving(tmp_path, redis_url, upstream, entry("api", upstream)) as node:
        change = node.worker.rule_change
        for more in ({}, {"strip_prefix": True}, {"replace_prefix": "/v2"}, {"upstreams": [f"{upstream.url}/base"]}):
            route = entry("api", upstream, **more)
            settings = nodes.settings(tmp_path, redis_url, upstream.url, route=[route])
            await change.prepare(settings)
            change.take()
            assert (await node.get("/api/x")).status == 200
    assert [line.split()[1] for line in lines(upstream)] == ["/api/x", "/x", "/v2/x", "/base/api/x"]
