"""A service that does not accept a WebSocket: the response that the client gets (R-176)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lockgate.forward.websocket.denial import MAX_BODY_BYTES
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import Message, Wire, until
from tests.support.sockets import handshake, socket_settings
from tests.support.upstream import Upstream

PROBLEM = b'{"type":"about:blank","status":429,"code":"too_many_streams"}'
DENIED = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\n"
    b"Server: secret\r\nX-User-Id: alice\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(PROBLEM), PROBLEM)
)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Upstream]:
    async with upstreams.running(upstreams.manual()) as running:
        yield running


@pytest_asyncio.fixture
async def node(redis_url: str, service: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    async with nodes.running(socket_settings(tmp_path, redis_url, service.url)) as running:
        yield running


@contextlib.asynccontextmanager
async def asked(node: Node, service: Upstream) -> AsyncIterator[tuple[Wire, Wire]]:
    """A client that waits for the answer to its handshake, and the service that was asked."""
    client = await node.connect()
    try:
        await client.send(f"{handshake()}{nodes.HOST}{node.tokens.bearer()}\r\n".encode())
        at_service = await service.connection()
        await at_service.message()
        yield client, at_service
    finally:
        client.close()


async def answer_to(node: Node, service: Upstream, *pieces: bytes, closes: bool = False) -> Message:
    """What the client gets for these bytes of the service; no socket is left over anywhere."""
    async with asked(node, service) as (client, at_service):
        for piece in pieces:
            await at_service.send(piece)
        if closes:
            at_service.close()
        answer = await client.message()
        assert await client.rest() == b""
        if not closes:
            assert await at_service.gone() == b""
    await until(lambda: not node.worker.edge.connections)
    return answer


async def test_the_client_hears_why_the_service_denies_it_a_socket(node: Node, service: Upstream) -> None:
    answer = await answer_to(node, service, DENIED)
    assert (answer.status, answer.body) == (429, PROBLEM)
    assert answer.value("content-type") == "application/problem+json"
    assert answer.value("retry-after") == "5"
    assert answer.value("connection") == "close"
    assert len(answer.values("x-request-id")) == len(answer.values("date")) == 1
    assert answer.values("server") + answer.values("x-user-id") == []


@pytest.mark.parametrize("status", [b"400", b"401", b"403", b"404", b"409", b"429"])
async def test_what_is_the_clients_fault_keeps_its_status(node: Node, service: Upstream, status: bytes) -> None:
    answer = await answer_to(node, service, b"HTTP/1.1 %b No\r\nContent-Length: 2\r\n\r\nno" % status)
    assert (answer.status, answer.body) == (int(status), b"no")


@pytest.mark.parametrize(
    "status", [b"200 OK", b"204 No Content", b"302 Found", b"500 Internal Server Error", b"503 Service Unavailable"]
)
async def test_whatever_else_is_not_a_socket_is_a_502(node: Node, service: Upstream, status: bytes) -> None:
    answer = await answer_to(
        node, service, b"HTTP/1.1 %b\r\nLocation: /other\r\nContent-Length: 6\r\n\r\nsecret" % status
    )
    assert (answer.status, answer.code) == (502, "socket_declined")
    assert b"secret" not in answer.raw
    assert b"/other" not in answer.raw


@pytest.mark.parametrize(
    ("pieces", "closes"),
    [
        ([DENIED[:20], DENIED[20:-5], DENIED[-5:]], False),
        ([b"HTTP/1.1 429 No\r\nTransfer-Encoding: chunked\r\n\r\n3d\r\n" + PROBLEM, b"\r\n0\r\n\r\n"], False),
        ([b"HTTP/1.1 429 No\r\n\r\n" + PROBLEM], True),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n" + DENIED], False),
    ],
    ids=["in pieces", "chunked", "up to the end", "behind an interim answer"],
)
async def test_the_answer_may_come_in_any_framing(
    node: Node, service: Upstream, pieces: list[bytes], *, closes: bool
) -> None:
    answer = await answer_to(node, service, *pieces, closes=closes)
    assert (answer.status, answer.body) == (429, PROBLEM)
    assert answer.values("transfer-encoding") == []


async def test_an_answer_as_long_as_the_bound_is_passed_on_and_a_longer_one_is_not(
    node: Node, service: Upstream
) -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n"
    fits = await answer_to(node, service, head % MAX_BODY_BYTES, b"x" * MAX_BODY_BYTES)
    assert (fits.status, len(fits.body)) == (403, MAX_BODY_BYTES)
    over = await answer_to(node, service, head % (MAX_BODY_BYTES + 1), b"x" * (MAX_BODY_BYTES + 1))
    assert (over.status, over.code) == (502, "socket_declined")


async def test_a_service_that_refuses_the_gateway_itself_is_a_502(node: Node, service: Upstream) -> None:
    """R-59: it must not look like a login that has expired."""
    refused = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Signature\r\nContent-Length: 0\r\n\r\n"
    answer = await answer_to(node, service, refused)
    assert (answer.status, answer.code) == (502, "link_refused")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 403 No\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["cut short", "bad chunk", "framed twice"],
)
async def test_an_answer_that_is_not_whole_or_not_http_is_a_502(node: Node, service: Upstream, raw: bytes) -> None:
    """R-193."""
    answer = await answer_to(node, service, raw, closes=True)
    assert (answer.status, answer.code) == (502, "upstream_failed")


async def test_a_client_that_leaves_before_the_answer_is_whole_takes_its_handshake_along(
    node: Node, service: Upstream
) -> None:
    """R-108."""
    async with asked(node, service) as (client, at_service):
        await at_service.send(DENIED[:-5])
        await until(lambda: any(side._receiver for side in node.worker.path.sockets.sides))  # noqa: SLF001 - it is being read
        client.reset()
        assert await at_service.gone() == b""
    await until(lambda: not node.worker.edge.connections and not node.worker.path.sockets.sides)
