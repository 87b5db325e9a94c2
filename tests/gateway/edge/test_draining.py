"""A response that was sent before the request's body was read reaches the client: R-202."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.edge import draining
from tests.support import node as nodes
from tests.support.node import Node
from tests.support.raw import until
from tests.support.rules import HOST
from tests.support.upstream import Upstream

MB = 1_000_000
SMUGGLED = b"GET /open/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
REFUSED = [("/orders", 401), ("/nowhere", 404), ("/auth/login", 413), ("/auth/nothing", 413)]


@pytest.mark.parametrize(("path", "status"), REFUSED)
async def test_who_sends_a_whole_body_before_it_reads_gets_the_refusal(
    node: Node, upstream: Upstream, path: str, status: int
) -> None:
    """R-202."""
    client = await node.connect()
    await client.send(f"POST {path} HTTP/1.1\r\nContent-Length: {8 * MB}\r\n".encode() + HOST + b"\r\n" + bytes(8 * MB))
    assert (await client.message()).status == status
    assert await client.rest() == b""
    client.close()
    assert upstream.requests == []


async def test_a_chunked_body_that_is_too_large_is_read_on(node: Node, upstream: Upstream) -> None:
    """R-202: where it ends is not known any more, so the client closes."""
    client = await node.connect()
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    await client.send(b"POST /open HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n" + chunk * 250)
    assert (await client.message()).status == 413
    client.close()
    await until(lambda: not node.worker.edge.connections)
    assert upstream.requests == []


@pytest.mark.parametrize("head", ["Content-Length: 2000000", "Transfer-Encoding: chunked"])
async def test_nothing_in_or_behind_a_refused_body_is_a_request(node: Node, upstream: Upstream, head: str) -> None:
    """R-202, R-86: neither what lies in the body, nor what was sent ahead behind it."""
    body = SMUGGLED + bytes(2 * MB - len(SMUGGLED))
    if "chunked" in head:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    client = await node.connect()
    await client.send(f"POST /orders HTTP/1.1\r\n{head}\r\n".encode() + HOST + b"\r\n" + body + SMUGGLED)
    answer = await client.message()
    assert answer.status == 401
    assert answer.value("connection") == "close"
    assert await client.rest() == b""
    client.close()
    assert upstream.requests == []


async def test_a_body_that_is_drained_counts_as_a_connection(node: Node) -> None:
    """R-202, R-102."""
    client = await node.connect()
    await client.send(POST_REFUSED)
    assert (await client.message()).status == 401
    assert len(node.worker.edge.connections) == 1
    client.close()
    await until(lambda: not node.worker.edge.connections)


POST_REFUSED = b"POST /orders HTTP/1.1\r\nContent-Length: 9000000\r\n" + HOST + b"\r\n"


async def test_a_client_that_hardly_sends_is_not_waited_for(node: Node) -> None:
    """R-202, R-101: 16 KiB/s from the sixth second on."""
    client = await node.connect()
    await client.send(POST_REFUSED + bytes(1000))
    assert (await client.message()).status == 401
    node.tick(4.5)
    assert len(node.worker.edge.connections) == 1
    node.tick(1)
    node.tick(2.5)
    assert await client.gone() == b""
    client.close()
    await until(lambda: not node.worker.edge.connections)


async def test_a_client_that_sends_steadily_has_thirty_seconds(node: Node) -> None:
    """R-202, R-101."""
    client = await node.connect()
    await client.send(POST_REFUSED)
    assert (await client.message()).status == 401
    (connection,) = node.worker.edge.connections
    for _ in range(5):
        await client.send(bytes(6 * draining.RATE))
        await until(lambda: connection._unread_body is None or connection._unread_body._discarded == 6 * draining.RATE)  # noqa: SLF001 - what was read can be seen nowhere else
        node.tick(5)
        assert connection in node.worker.edge.connections
    await client.send(bytes(6 * draining.RATE))
    node.tick(5)
    node.tick(2.5)
    await client.gone()
    client.close()
    await until(lambda: not node.worker.edge.connections)


async def test_no_more_is_drained_than_the_route_would_take(redis_url: str, upstream: Upstream, tmp_path: Path) -> None:
    """R-202: the rest stays unread, and the client has a moment to read the answer."""
    configured = nodes.settings(tmp_path, redis_url, upstream.url, limits={"body_bytes": MB})
    async with nodes.running(configured) as node:
        client = await node.connect()
        head = b"POST /open HTTP/1.1\r\nContent-Length: 90000000\r\n"
        client.write(head + HOST + b"\r\n" + bytes(30 * MB))
        answer = await client.message()
        assert answer.status == 413
        (connection,) = node.worker.edge.connections
        await until(lambda: connection._paused)  # noqa: SLF001 - the same
        node.tick(2.5)
        await client.gone()
        client.close()
        await until(lambda: not node.worker.edge.connections)
    assert upstream.requests == []
