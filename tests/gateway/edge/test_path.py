"""The judged path is the forwarded path: R-70 to R-79."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from lockgate.errors import ConfigurationError
from lockgate.policy.routes import RouteTable
from tests.support import node as nodes
from tests.support.node import Node
from tests.support.raw import Wire
from tests.support.rules import HOST, refused
from tests.support.upstream import Upstream

REFUSED = (
    "/open/../orders",
    "/open/..",
    "/open/.",
    "/open/./x",
    "/..",
    "/.",
    "/open/%2e%2e/orders",
    "/open/%2E%2e/orders",
    "/open/.%2e/orders",
    "/open/%2e/x",
    "/open/%252e%252e/orders",
    "/open/%25%32%65%25%32%65/orders",
    "/open/%2%35%65",
    "/open/%25252e%25252e/orders",
    "/open/%2525252e./orders",
    "/open/..;/orders",
    "/open/..;a=b/orders",
    "/open/..%3b/orders",
    "/open/..%253b/orders",
    "/open/.;/orders",
    "/open/;/orders",
    "/;a/open",
    "/open%2F..%2Forders",
    "/open/%252forders",
    "/open/%5corders",
    "/open/%255corders",
    "/open\\orders",
    "/open/x%00",
    "/open/x%2500",
    "/open/%0d%0aX:y",
    "/open/%250d%250aX:y",
    "/open/%7f",
    "/open/%09",
    "/open/%",
    "/open/%2",
    "/open/%zz",
    "/open/%u002e",
    "/open/%c0%ae%c0%ae/orders",
    "/open/%e0%80%ae/orders",
    "/open/%ff",
    "/open/%c3",
    "/open/%ed%a0%80",
    "/open/x#y",
    "/open#",
    "/open?a#b",
    "open",
    "open/x",
    "*",
    "",
    "?a",
    "http:/open",
    "http:open",
    "http:http://shop.example/open",
    "ftp://shop.example/open",
    "http:///open",
    "http://shop.example:80:80/open",
    "http://user@shop.example/open",
    "http://evil.example/open",
    "http://shop.example#/open",
    "http://shop.example",
    "shop.example:80",
)


@pytest.mark.parametrize("target", REFUSED)
async def test_a_target_that_two_readers_could_take_for_two_things_is_refused(
    node: Node, upstream: Upstream, target: str
) -> None:
    """R-71, R-72, R-74."""
    raw = f"GET {target} HTTP/1.1\r\n".encode() + HOST + b"\r\n"
    if target == "http://shop.example":  # absolute-form without a path is "/", which is routed nowhere
        assert (await node.ask(raw.removesuffix(b"\r\n"))).status == 404
        assert upstream.requests == []
        return
    await refused(node, upstream, raw, 400)


async def test_bytes_beyond_ascii_in_a_target_are_refused(node: Node, upstream: Upstream) -> None:
    """R-71."""
    await refused(node, upstream, b"GET /open/\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400)
    await refused_again(node, upstream, b"GET /open/\xc0\xae\xc0\xae HTTP/1.1\r\n" + HOST + b"\r\n")


async def refused_again(node: Node, upstream: Upstream, raw: bytes) -> None:
    before = len(upstream.requests)
    assert (await node.ask(raw.removesuffix(b"\r\n"))).status == 400
    assert len(upstream.requests) == before


CANONICAL = {
    "/open": "/open",
    "/open/": "/open/",
    "/%6fpen/x": "/open/x",
    "/open/%7Euser": "/open/~user",
    "/open/a%2eb": "/open/a.b",
    "/open/...": "/open/...",
    "/open/.well": "/open/.well",
    "/open/..x": "/open/..x",
    "/open/a;b=c": "/open/a;b=c",
    "/open/%c3%a9": "/open/%C3%A9",
    "/open/a%20b": "/open/a%20b",
    "/open/100%25": "/open/100%25",
    "/open/a%23b%3fc": "/open/a%23b%3Fc",
    "/open/!$&'()*+,=:@": "/open/!$&'()*+,=:@",
    "/open/a[1]": "/open/a%5B1%5D",
    "/open/a%5b1%5d": "/open/a%5B1%5D",
    '/open/{x}|^"<`>': "/open/%7Bx%7D%7C%5E%22%3C%60%3E",
    "//open": "/open",
    "/open//x///y": "/open/x/y",
    "/open/x//": "/open/x/",
    "///open?a=//b": "/open?a=//b",
    "/open?": "/open?",
    "/open?a=%2e%2E/../x&b=\\|^": "/open?a=%2e%2E/../x&b=\\|^",
    "/open?next=http://x/?y": "/open?next=http://x/?y",
    "http://shop.example/open/x?y": "/open/x?y",
    "HTTP://SHOP.example/open/x": "/open/x",
    "https://shop.example/open": "/open",
}


@pytest.mark.parametrize(("target", "canonical"), CANONICAL.items())
async def test_the_service_gets_the_path_that_was_judged(
    node: Node, upstream: Upstream, target: str, canonical: str
) -> None:
    """R-70, R-74, R-71, R-72, R-208."""
    assert (await node.get(target)).status == 200
    (request,) = upstream.requests
    assert request.line == f"GET {canonical} HTTP/1.1"


async def test_no_part_of_a_path_is_taken_off_or_put_before_it(node: Node, upstream: Upstream) -> None:
    """R-78: where a route does not say so."""
    for target in ("/open", "/open/open", "/open/x/"):
        assert (await node.get(target)).status == 200
    assert [request.line.split(" ")[1] for request in upstream.requests] == ["/open", "/open/open", "/open/x/"]


@pytest.mark.parametrize(
    "wish",
    [
        {"rewrite": "/x"},
        {"strip_prefix": "/open"},
        {"strip_prefix": True, "replace_prefix": "/x"},
        {"replace_prefix": "x"},
        {"upstreams": ["http://127.0.0.1:1/x/"]},
        {"upstreams": ["http://127.0.0.1:1/x?y"]},
    ],
)
def test_a_route_can_replace_the_beginning_of_a_path_and_no_more(tmp_path: Path, wish: dict[str, Any]) -> None:
    """R-78; R-266 proves what becomes of a path whose beginning is replaced."""
    route = {"name": "open", "prefix": "/open", "upstreams": ["http://127.0.0.1:1"], **wish}
    with pytest.raises(ValidationError):
        nodes.settings(tmp_path, "redis://127.0.0.1:1", "http://127.0.0.1:1", route=[route])


NOT_ROUTED = (
    "//evil.example/open",
    "//internal",
    "/",
    "/openx",
    "/open-x",
    "/OPEN",
    "/internal",
    "/internal/credentials",
    "/%69nternal/x",
    "/open%3Fx",
)


@pytest.mark.parametrize("path", NOT_ROUTED)
async def test_what_is_not_in_the_table_is_not_found(node: Node, upstream: Upstream, path: str) -> None:
    """R-73."""
    assert (await node.get(path, node.tokens.bearer())).status == 404
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/%6frders/1", "/orders/%31", "/orders;x", "/orders/?open", "/orders?/open/.."])
async def test_no_spelling_of_a_protected_path_is_public(node: Node, upstream: Upstream, path: str) -> None:
    """R-70, R-73."""
    assert (await node.get(path)).status in {401, 404}
    assert upstream.requests == []


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a,b",
        "a/b",
        "a@b",
        "a?b",
        "a#b",
        "a\\b",
        "a:b",
        "a:1:2",
        "[::1",
        "[:::::]",
        "[1:2]",
        "[1.2.3.4]",
        "::1",
        "a%41",
        "http://shop.example",
        "\xe9.example",
        "a:123456",
        "a:65536",
        ".",
        "a..b",
        "-a",
        "a-",
        "a..",
        ".:80",
        "a" * 64,
    ],
)
async def test_a_host_that_is_none_is_refused(node: Node, upstream: Upstream, host: str) -> None:
    """R-75."""
    raw = f"GET /open HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
    await refused(node, upstream, raw, 400, "malformed_host")


@pytest.mark.parametrize("hosts", [b"", HOST + HOST, HOST + b"Host: evil.example\r\n"])
async def test_exactly_one_host_is_needed(node: Node, upstream: Upstream, hosts: bytes) -> None:
    """R-75."""
    await refused(node, upstream, b"GET /open HTTP/1.1\r\n" + hosts + b"\r\n", 400, "malformed_host")


async def test_http_1_0_may_come_without_a_host(node: Node, upstream: Upstream) -> None:
    """R-75, R-206: the field came with HTTP/1.1."""
    client = await node.connect()
    await client.send(b"GET /open HTTP/1.0\r\n\r\n")
    assert (await client.message()).status == 200
    client.close()
    (request,) = upstream.requests
    assert request.values("x-forwarded-host") == []


@pytest.mark.parametrize(
    "host", ["shop.example", "SHOP.example.", "shop.example:", "shop.example:80", "shop.example.:80", "Shop.Example.:"]
)
async def test_equal_spellings_of_a_host_are_one(node: Node, upstream: Upstream, host: str) -> None:
    """R-206: also for an absolute target with that host as its authority."""
    for target in ("/open", "http://shop.example/open", "http://SHOP.example:80/open"):
        answer = await node.ask(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n".encode())
        assert answer.status == 200, target
    assert [request.value("x-forwarded-host") for request in upstream.requests] == ["shop.example"] * 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize(
    "head", ["HTTP/1.0\r\n", "HTTP/1.1\r\nHost: 127.0.0.1\r\n", "HTTP/1.1\r\nHost: evil.example\r\n"]
)
async def test_health_calls_answer_whatever_the_host(  # noqa: PLR0913, PLR0917 - fixtures and cases
    redis_url: str, upstream: Upstream, tmp_path: Path, path: str, head: str, method: str
) -> None:
    """R-206, R-207: a probe asks by address, and HAProxy's `httpchk /readyz` by OPTIONS."""
    configured = nodes.settings(tmp_path, redis_url, upstream.url, server={"allowed_hosts": ["shop.example"]})
    async with nodes.running(configured) as node:
        client = await node.connect()
        await client.send(f"{method} {path} {head}\r\n".encode())
        assert (await client.message(body=method != "HEAD")).status == 200
        client.close()


@pytest.mark.parametrize(
    "line", ["OPTIONS / HTTP/1.0", "OPTIONS / HTTP/1.1\r\nHost: 10.0.0.1", "OPTIONS * HTTP/1.1\r\nHost: a"]
)
async def test_the_check_that_a_load_balancer_makes_by_default_is_answered(
    redis_url: str, upstream: Upstream, tmp_path: Path, line: str
) -> None:
    """R-206, R-207: it tells nothing but that there is a server."""
    configured = nodes.settings(tmp_path, redis_url, upstream.url, server={"allowed_hosts": ["shop.example"]})
    async with nodes.running(configured) as node:
        client = await node.connect()
        await client.send(f"{line}\r\n\r\n".encode())
        answer = await client.message()
        client.close()
    assert (answer.status, answer.body) == (204, b"")
    assert upstream.requests == []


SLASHED = {
    "/files/AC%2fDC": "/files/AC%2FDC",
    "/files/a%2Fb%2F": "/files/a%2Fb%2F",
    "/files/a%2F%2Fb": "/files/a%2F%2Fb",
}
NOT_SLASHED = (
    "/files/a%2F..%2Fb",
    "/files/%2e%2e%2fb",
    "/files/..%2fb",
    "/files/a%2F.",
    "/files/a%2F%2e%2e",
    "/files/a%2F..;x",
    "/files/a%252Fb",
    "/files/a%252F..%252Fb",
    "/files/a%255Cb",
    "/files/a%2F%2500",
    "/open/a%2Fb",
    "/auth%2Flogin",
    "/auth/x%2Fy",
    "/nowhere%2Fx",
)


@pytest_asyncio.fixture
async def slashed(redis_url: str, upstream: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    files = {
        "name": "files",
        "prefix": "/files",
        "upstreams": [upstream.url],
        "auth": "public",
        "public_write": True,
        "encoded_slashes": True,
    }
    routes = [*nodes.routes(upstream.url), files]
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, route=routes)) as node:
        yield node


@pytest.mark.parametrize(("target", "canonical"), SLASHED.items())
async def test_a_route_that_takes_coded_slashes_hands_them_on(
    slashed: Node, upstream: Upstream, target: str, canonical: str
) -> None:
    """R-208: what is matched is what is sent."""
    assert (await slashed.get(target)).status == 200
    (request,) = upstream.requests
    assert request.line == f"GET {canonical} HTTP/1.1"


@pytest.mark.parametrize("target", NOT_SLASHED)
async def test_a_coded_slash_is_a_separator_for_every_danger(slashed: Node, upstream: Upstream, target: str) -> None:
    """R-71, R-208: and refused on every route that does not take it."""
    answer = await slashed.get(target)
    assert (answer.status, answer.code) == (400, "malformed_target")
    assert upstream.requests == []


@pytest.mark.parametrize(
    "target", ["/files/admin%2Fx", "/files/admin%2F", "/files/%2Fadmin/x", "/files/admin%2f%2fx", "/files%2Fadmin/x"]
)
async def test_a_coded_slash_hides_no_stricter_route(
    redis_url: str, upstream: Upstream, tmp_path: Path, target: str
) -> None:
    """R-71, R-208: a service that decodes it would serve what the other route protects."""
    common = {"upstreams": [upstream.url], "encoded_slashes": True}
    files = {"name": "files", "prefix": "/files", "auth": "public", "public_write": True, **common}
    admin = {"name": "admin", "prefix": "/files/admin", "auth": "required", **common}
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, route=[files, admin])) as node:
        answer = await node.get(target)
        assert (answer.status, answer.code) == (400, "malformed_target")
        assert (await node.get("/files/a%2Fb")).status == 200
        assert (await node.get("/files/admin/a%2Fb")).status == 401
    assert [request.line.split(" ")[1] for request in upstream.requests] == ["/files/a%2Fb"]


@pytest.mark.parametrize(
    "target",
    [
        "/files/admin;v=1",
        "/files/admin;v=1/x",
        "/files/admin;",
        "/files;a/admin/x",
        "/files/;/admin/x",
        "/files/admin%3Bv=1",
        "/files/admin%3b/x",
        "/files/admin%2F;x",
    ],
)
async def test_a_path_parameter_hides_no_stricter_route(
    redis_url: str, upstream: Upstream, tmp_path: Path, target: str
) -> None:
    """R-71: a service that drops parameters would serve what the other route protects."""
    common = {"upstreams": [upstream.url], "encoded_slashes": True}
    files = {"name": "files", "prefix": "/files", "auth": "public", "public_write": True, **common}
    admin = {"name": "admin", "prefix": "/files/admin", "auth": "required", **common}
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, route=[files, admin])) as node:
        answer = await node.get(target)
        assert (answer.status, answer.code) in {(400, "malformed_target"), (404, "not_found")}
        assert (await node.get("/files/a;v=1/b%3Bc")).status == 200
        assert (await node.get("/files/admin/a;v=1")).status == 401
    assert [request.line.split(" ")[1] for request in upstream.requests] == ["/files/a;v=1/b%3Bc"]


@pytest.mark.parametrize("target", ["/files%2Fsecret", "/files%2F..%2Fopen"])
async def test_a_coded_slash_ends_no_prefix(slashed: Node, upstream: Upstream, target: str) -> None:
    """R-208."""
    assert (await slashed.get(target)).status == 400
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("prefix", "target"),
    [
        ("/a.b_c~d", "/a.b_c~d/x"),
        ("/café", "/caf%c3%a9/x"),
        ("/caf%c3%a9", "/caf%C3%A9/x"),
        ("/v1/@me", "/v1/@me/x"),
        ("/a b", "/a%20b/x"),
    ],
)
async def test_a_prefix_may_hold_what_a_path_may_hold(
    redis_url: str, upstream: Upstream, tmp_path: Path, prefix: str, target: str
) -> None:
    """R-208."""
    route = [{"name": "odd", "prefix": prefix, "upstreams": [upstream.url], "auth": "public", "public_write": True}]
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, route=route)) as node:
        assert (await node.get(target)).status == 200
        assert (await node.get("/other")).status == 404
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "prefix", ["/a/../b", "/a//b", "/a%2Fb", "/a?b", "/a#b", "/a\\b", "/%00", "/auth", "/internal/x"]
)
def test_a_prefix_that_no_request_can_have_is_refused(tmp_path: Path, prefix: str) -> None:
    """R-208, R-211."""
    route = {"name": "odd", "prefix": prefix, "upstreams": ["http://127.0.0.1:1"]}
    settings = nodes.settings(tmp_path, "redis://127.0.0.1:1", "http://127.0.0.1:1", route=[route])
    with pytest.raises(ConfigurationError, match="odd"):
        RouteTable.from_settings(settings)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("shop.example", 200),
        ("SHOP.example", 200),
        ("shop.example:8080", 200),
        ("evil.example", 421),
        ("shop.example.evil.example", 421),
        ("evil.example:80", 421),
        ("127.0.0.1", 421),
    ],
)
async def test_only_hosts_of_the_allow_list_are_served(
    redis_url: str, upstream: Upstream, tmp_path: Path, host: str, status: int
) -> None:
    """R-75."""
    configured = nodes.settings(tmp_path, redis_url, upstream.url, server={"allowed_hosts": ["shop.example"]})
    async with nodes.running(configured) as node:
        answer = await node.ask(f"GET /open HTTP/1.1\r\nHost: {host}\r\n".encode())
        assert answer.status == status
    assert len(upstream.requests) == (status == 200)


@pytest.mark.parametrize("host", ["[::1]", "[0:0:0:0:0:0:0:1]:8080", "[0::0001]:"])
async def test_equal_spellings_of_an_address_are_one_host(
    redis_url: str, upstream: Upstream, tmp_path: Path, host: str
) -> None:
    """R-206 (RFC 5952)."""
    configured = nodes.settings(tmp_path, redis_url, upstream.url, server={"allowed_hosts": ["[0:0::1]"]})
    async with nodes.running(configured) as node:
        assert (await node.ask(f"GET /open HTTP/1.1\r\nHost: {host}\r\n".encode())).status == 200
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("server", "fields", "status"),
    [
        ({}, "Host: shop.example\r\nX-Forwarded-Host: evil.example\r\n", 421),
        ({}, "Host: gateway:8080\r\nX-Forwarded-Host: evil.example, shop.example\r\n", 200),
        ({}, "Host: gateway:8080\r\nX-Forwarded-Host: shop.example, evil.example\r\n", 421),
        ({}, "Host: gateway:8080\r\nX-Forwarded-Host: shop.example@evil.example\r\n", 421),
        ({}, "Host: gateway:8080\r\nForwarded: host=shop.example\r\n", 421),
        ({"forwarded_host": False}, "Host: gateway:8080\r\nX-Forwarded-Host: shop.example\r\n", 421),
        ({"forwarded_host": False}, "Host: shop.example\r\nX-Forwarded-Host: evil.example\r\n", 200),
        ({"trusted_proxies": []}, "Host: gateway:8080\r\nX-Forwarded-Host: shop.example\r\n", 421),
        ({"trusted_proxies": []}, "Host: shop.example\r\nX-Forwarded-Host: evil.example\r\n", 200),
    ],
)
async def test_the_host_that_counts_is_the_one_that_is_believed(  # noqa: PLR0913, PLR0917 - fixtures and cases
    redis_url: str, upstream: Upstream, tmp_path: Path, server: dict[str, Any], fields: str, status: int
) -> None:
    """R-75, R-205: and no other reaches the service."""
    believed = {"allowed_hosts": ["shop.example"], "trusted_proxies": ["127.0.0.0/8"], "forwarded_host": True}
    configured = nodes.settings(tmp_path, redis_url, upstream.url, server={**believed, **server})
    async with nodes.running(configured) as node:
        client = await node.connect()
        await client.send(f"GET /open HTTP/1.1\r\n{fields}\r\n".encode())
        assert (await client.message()).status == status
        client.close()
    assert len(upstream.requests) == (status == 200)
    assert all(request.values("x-forwarded-host") == ["shop.example"] for request in upstream.requests)


@pytest.mark.parametrize("method", ["TRACE", "TRACK"])
async def test_methods_that_reflect_are_refused(node: Node, upstream: Upstream, method: str) -> None:
    """R-76."""
    answer = await node.ask(f"{method} /open HTTP/1.1\r\nX-Echo: secret\r\n")
    assert answer.status == 405
    assert answer.values("allow")
    assert b"secret" not in answer.raw
    assert upstream.requests == []


@pytest.mark.parametrize("method", ["get", "Get", "BREW", "PROPFIND", "X" * 32])
async def test_methods_are_case_sensitive_and_unknown_ones_refused(node: Node, upstream: Upstream, method: str) -> None:
    """R-76."""
    answer = await node.ask(f"{method} /open HTTP/1.1\r\n")
    assert answer.status == 501
    assert upstream.requests == []


async def test_no_method_override_is_heeded(node: Node, upstream: Upstream) -> None:
    """R-73: what a token may read it may not delete by the word of a field or of the query."""
    token = node.tokens.bearer(scope="orders:read")
    fields = f"{token}X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n"
    assert (await node.get("/orders/7?_method=DELETE", fields)).status == 200
    (request,) = upstream.requests
    assert request.line.startswith("GET ")
    assert b"DELETE" not in request.head.partition(b"\r\n")[2]


async def test_there_are_no_slash_redirects(node: Node, upstream: Upstream) -> None:
    """R-77."""
    answer = await node.ask("GET /auth/sessions/ HTTP/1.1\r\n")
    assert answer.status in {401, 404, 405}
    assert answer.values("location") == []
    assert upstream.requests == []


async def test_a_redirect_of_a_service_is_relayed_and_not_followed(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-79."""
    upstream.play(_redirect)
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url)) as node:
        answer = await node.get("/open")
    assert answer.status == 302
    assert answer.value("location") == "http://127.0.0.1:9/elsewhere"
    assert upstream.accepted == 1


async def _redirect(upstream: Upstream, wire: Wire) -> None:
    upstream.record(await wire.message())
    await wire.send(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/elsewhere\r\nContent-Length: 0\r\n\r\n")
