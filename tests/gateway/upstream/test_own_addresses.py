"""Addresses in the header fields of a service lead to the gateway: R-213, R-226."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.upstream.own_addresses import OwnAddresses
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.upstream import Upstream

OWN = OwnAddresses(["http://127.0.0.1:8103", "http://shop-2:80", "https://shop-3:443", "http://[::1]:8103"])


@pytest.mark.parametrize(
    ("url", "mapped"),
    [
        ("http://127.0.0.1:8103/a/?b=c#d", "/a/?b=c#d"),
        ("HTTPS://127.0.0.1:8103/a", "/a"),
        ("//127.0.0.1:8103/a", "/a"),
        ("http://[::1]:8103/a", "/a"),
        ("http://127.0.0.1:8103", "/"),
        ("http://127.0.0.1:8103?a", "/?a"),
        ("http://shop-2/a", "/a"),
        ("http://Shop-2:80/a", "/a"),
        ("http://shop-2:/a", "/a"),
        ("https://shop-3/a", "/a"),
    ],
)
def test_an_upstream_is_recognised_in_every_spelling(url: str, mapped: str) -> None:
    """R-213."""
    for name in (b"location", b"content-location"):
        assert OWN.map_field(name, url.encode()) == mapped.encode()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8103@evil.example/a",
        "http://127.0.0.1:81030/a",
        "http://127.0.0.1:8103.evil.example/a",
        "http://127.0.0.1/a",
        "http://127.0.0.1:8104/a",
        "http://shop-2.evil.example/a",
        "http://shop-2:8080/a",
        "http://user@127.0.0.1:8103/a",
        "https://elsewhere.example/http://127.0.0.1:8103/a",
        "/a?next=http://127.0.0.1:8103/a",
        "a/b",
    ],
)
def test_what_leads_elsewhere_passes_as_it_is(url: str) -> None:
    """R-213."""
    assert OWN.map_field(b"location", url.encode()) == url.encode()


@pytest.mark.parametrize("path", ["//evil.example/a", "/\\evil.example/a", "/\t/evil.example/a", "///evil.example/a"])
def test_no_mapped_path_begins_the_name_of_a_host(path: str) -> None:
    """R-213, R-183: `//evil.example` alone would be an address."""
    assert OWN.map_field(b"location", b"http://127.0.0.1:8103" + path.encode()) == b"/evil.example/a"


@pytest.mark.parametrize(
    ("name", "value", "mapped"),
    [
        ("refresh", "5; url=http://127.0.0.1:8103/a", "5; url=/a"),
        ("refresh", '0;URL="http://127.0.0.1:8103/a"', '0;URL="/a"'),
        ("refresh", "5", "5"),
        (
            "link",
            '<http://127.0.0.1:8103/a?page=2>; rel="next", <http://x.example/>; rel="help"',
            '</a?page=2>; rel="next", <http://x.example/>; rel="help"',
        ),
    ],
)
def test_other_fields_that_name_addresses_are_mapped(name: str, value: str, mapped: str) -> None:
    """R-213: the next page of a list, and a page that loads another."""
    assert OWN.map_field(name.encode(), value.encode()) == mapped.encode()


def redirecting(upstream: Upstream) -> bytes:
    return f"HTTP/1.1 307 X\r\nLocation: {upstream.url}/open/\r\nContent-Length: 0\r\n\r\n".encode()


async def test_a_redirect_to_the_service_leads_to_the_gateway(node: Node, upstream: Upstream) -> None:
    """R-213, R-226: for every host that the client names, the redirect is a path."""
    upstream.play(upstreams.recorder(redirecting(upstream)))
    answer = await node.get("/open", "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n")
    assert answer.status == 307
    assert answer.value("location") == "/open/"


async def test_a_path_that_a_front_proxy_takes_off_stands_before_a_redirect(
    redis_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    """R-213."""
    upstream.play(upstreams.recorder(redirecting(upstream)))
    server = {"public_url": "https://shop.example/api/"}
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, server=server)) as node:
        assert (await node.get("/open")).value("location") == "/api/open/"


@pytest.mark.parametrize("path", ["/open", "/kept"])
async def test_a_service_gets_the_clients_host_where_its_route_says_so(
    redis_url: str, upstream: Upstream, tmp_path: Path, path: str
) -> None:
    """R-213: and its own address elsewhere, or where the client sent none."""
    kept = {"name": "kept", "prefix": "/kept", "service": "orders", "auth": "public", "methods": ["GET"]}
    routes = [*nodes.routes(upstream.url), {**kept, "upstreams": [upstream.url], "preserve_host": True}]
    own = upstream.url.removeprefix("http://")
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, route=routes)) as node:
        await node.ask(f"GET {path} HTTP/1.1\r\nHost: Api.Shop.example:8443\r\n".encode())
        await node.ask(f"GET {path} HTTP/1.0\r\n".encode())
    hosts = [request.value("host") for request in upstream.requests]
    assert hosts == ["api.shop.example:8443" if path == "/kept" else own, own]
