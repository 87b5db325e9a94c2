"""Methods that HTTP itself gives a meaning: HEAD, OPTIONS and CONNECT. R-74, R-76, R-91, R-194."""

from __future__ import annotations

import pytest

from tests.support.node import Node
from tests.support.rules import HOST, refused
from tests.support.upstream import Upstream

HEAD = b"HEAD /open HTTP/1.1\r\n"

NOT_SERVED = {
    "nothing is routed there": (b"HEAD /nowhere HTTP/1.1\r\n" + HOST, 404),
    "nobody may do that without credentials": (b"HEAD /orders HTTP/1.1\r\n" + HOST, 401),
    "a call that only takes GET": (b"HEAD /auth/me HTTP/1.1\r\n" + HOST, 405),
    "a call that is not there": (b"HEAD /auth/nothing HTTP/1.1\r\n" + HOST, 404),
    "a body that is too large": (HEAD + HOST + b"Content-Length: 99999999\r\n", 413),
    "a target that is none": (b"HEAD /open/../x HTTP/1.1\r\n" + HOST, 400),
    "a version that is not spoken": (b"HEAD /open HTTP/3.0\r\n" + HOST, 505),
    "no host": (HEAD, 400),
    "an empty line before it, and no host": (b"\r\n" + HEAD, 400),
    "a field that is none": (HEAD + HOST + b"A : b\r\n", 400),
    "too large a field": (HEAD + HOST + b"A: " + b"b" * 17_000 + b"\r\n", 431),
    "too long a target": (b"HEAD /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST, 414),
    "an ambiguous length": (HEAD + HOST + b"Content-Length: 1, 1\r\n", 400),
}


@pytest.mark.parametrize(("head", "status"), NOT_SERVED.values(), ids=NOT_SERVED)
async def test_a_refused_head_gets_no_body(node: Node, upstream: Upstream, head: bytes, status: int) -> None:
    """R-194: a client would take the body for the answer to its next request. How long it would be may be said."""
    client = await node.connect()
    await client.send(head + b"Connection: close\r\n\r\n")
    answer = await client.message(body=False)
    assert answer.status == status
    assert answer.value("content-type") == "application/problem+json"
    assert int(answer.value("content-length")) > 0
    assert await client.rest() == b""
    client.close()
    assert upstream.requests == []


async def test_a_head_that_does_not_end_gets_no_body(node: Node, upstream: Upstream) -> None:
    """R-101, R-194: neither when its time is over nor when the client ends it."""
    slow, cut = await node.connect(), await node.connect()
    await slow.send(HEAD)
    await cut.send(HEAD)
    cut.end()
    for client, status in ((cut, 400), (slow, 408)):
        answer = await client.message(body=False)
        assert answer.status == status
        assert await client.rest() == b""
        client.close()
        node.tick(node.settings.limits.head_s + 1)
    assert upstream.requests == []


# --- OPTIONS ---------------------------------------------------------------------------------------------------------


async def test_options_about_the_server_is_answered_here(node: Node, upstream: Upstream) -> None:
    """R-74, and RFC 9110 section 9.3.7: what the server can do at all. No service is asked; the connection goes on."""
    client = await node.connect()
    for _ in range(2):
        await client.send(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")
        answer = await client.message()
        assert answer.status == 204
        assert answer.value("allow") == "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
        assert answer.values("content-length") == []
    client.close()
    assert upstream.requests == []


async def test_options_about_the_server_with_a_body_is_one_request(node: Node, upstream: Upstream) -> None:
    """R-74, R-90."""
    client = await node.connect()
    await client.send(b"OPTIONS * HTTP/1.1\r\nContent-Length: 4\r\n" + HOST + b"\r\n{  }")
    assert (await client.message()).status == 204
    await client.send(b"GET /open HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (await client.message()).status == 200
    client.close()
    assert [request.line for request in upstream.requests] == ["GET /open HTTP/1.1"]


@pytest.mark.parametrize("line", ["GET *", "HEAD *", "POST *", "options *", "OPTIONS **", "OPTIONS *?a", "OPTIONS */x"])
async def test_nothing_else_is_about_the_server(node: Node, upstream: Upstream, line: str) -> None:
    """R-74."""
    client = await node.connect()
    await client.send(f"{line} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
    assert (await client.message(body=not line.startswith("HEAD"))).status == 400
    assert await client.rest() == b""
    client.close()
    assert upstream.requests == []


async def test_options_about_the_server_needs_a_host_as_well(node: Node, upstream: Upstream) -> None:
    """R-75."""
    await refused(node, upstream, b"OPTIONS * HTTP/1.1\r\n\r\n", 400, "malformed_host")


# --- CONNECT ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["shop.example:443", "shop.example", "/open", "*", "http://shop.example/open"])
async def test_connect_opens_no_tunnel(node: Node, upstream: Upstream, target: str) -> None:
    """R-74, R-76, R-91: what a client sends behind it, taking the tunnel for granted, is no request (RFC 9931)."""
    hopeful = b"GET /open HTTP/1.1\r\n" + HOST + b"\r\n"
    raw = f"CONNECT {target} HTTP/1.1\r\n".encode() + HOST + b"\r\n" + hopeful
    answer = await refused(node, upstream, raw, 405, "method_not_allowed")
    assert answer.value("allow") == ""


@pytest.mark.parametrize("line", ["CONNECT", "CONNECT ", "CONNECT a b", "CONNECT a:1 HTTP/2.0"])
async def test_a_line_that_only_begins_like_connect_is_no_request(node: Node, upstream: Upstream, line: str) -> None:
    """R-85."""
    await refused(node, upstream, line.encode() + b"\r\n" + HOST + b"\r\n", 400, "malformed_request")
