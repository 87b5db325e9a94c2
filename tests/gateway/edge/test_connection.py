"""The life of a client connection: R-86 to R-92, R-100 to R-108."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lockgate.settings import Settings
from tests.support import node as nodes
from tests.support.node import Node
from tests.support.raw import until
from tests.support.rules import HOST, refused
from tests.support.upstream import Upstream, manual

GET = b"GET /open/%d HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /open HTTP/1.1\r\n" + HOST


async def test_a_connection_is_kept_for_the_next_request(node: Node, upstream: Upstream) -> None:
    client = await node.connect()
    for number in range(3):
        await client.send(GET % number)
        answer = await client.message()
        assert answer.status == 200
        assert answer.values("connection") == []
    client.close()
    assert [request.line for request in upstream.requests] == [f"GET /open/{n} HTTP/1.1" for n in range(3)]
    assert upstream.accepted == 1


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(node: Node, upstream: Upstream) -> None:
    client = await node.connect()
    await client.send(b"".join(GET % number for number in range(50)) + b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n")
    for _ in range(50):
        assert (await client.message()).status == 200
    assert (await client.message()).status == 404
    client.close()
    assert [request.line for request in upstream.requests] == [f"GET /open/{n} HTTP/1.1" for n in range(50)]


async def test_bytes_that_are_no_request_after_one_that_is_end_the_connection(node: Node, upstream: Upstream) -> None:
    client = await node.connect()
    await client.send(GET % 1 + b"\x16\x03\x01\x02\x00\r\n\r\n")
    assert (await client.message()).status == 200
    refusal = await client.message()
    assert refusal.status == 400
    assert refusal.value("connection") == "close"
    assert await client.rest() == b""
    client.close()
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("version", "fields", "kept"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.1", "Connection: keep-alive, Close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", True),
        ("1.0", "Connection: keep-alive, close\r\n", False),
    ],
)
async def test_the_version_and_connection_say_whether_it_is_kept(
    node: Node, version: str, fields: str, *, kept: bool
) -> None:
    client = await node.connect()
    await client.send(f"GET /open HTTP/{version}\r\n{fields}".encode() + HOST + b"\r\n")
    answer = await client.message()
    assert answer.status == 200
    assert answer.line == "HTTP/1.1 200 OK"
    if kept:
        assert answer.values("connection") == ([] if version == "1.1" else ["keep-alive"])
        await client.send(GET % 2)
        assert (await client.message()).status == 200
    else:
        assert answer.value("connection") == "close"
        assert await client.rest() == b""
    client.close()


async def test_a_request_split_at_every_byte_is_the_same_request(node: Node, upstream: Upstream) -> None:
    raw = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"
    client = await node.connect()
    for index in range(len(raw)):
        await client.send(raw[index : index + 1])
        await asyncio.sleep(0)
    assert (await client.message()).status == 200
    client.close()
    assert upstream.requests[0].body == b"hello"


async def test_a_client_that_closed_its_side_gets_its_answers(node: Node, upstream: Upstream) -> None:
    """Half-close: what was asked before it is answered, what is pipelined as well."""
    client = await node.connect()
    await client.send(GET % 1 + GET % 2 + GET % 3)
    client.end()
    for _ in range(3):
        assert (await client.message()).status == 200
    assert await client.rest() == b""
    client.close()
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("framing", [b"Content-Length: 10\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"])
async def test_a_body_cut_short_is_no_request(node: Node, upstream: Upstream, framing: bytes) -> None:
    client = await node.connect()
    await client.send(POST + framing)
    client.end()
    answer = await client.message()
    assert answer.status == 400
    assert await client.rest() == b""
    client.close()
    assert upstream.requests == []
    assert upstream.accepted == 0


# --- Upgrade ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.2", "websocket, h2c"])
async def test_another_protocol_is_not_switched_to(node: Node, upstream: Upstream, protocol: str) -> None:
    """R-91: the bytes after it are no tunnel's."""
    client = await node.connect()
    await client.send(f"GET /open HTTP/1.1\r\nUpgrade: {protocol}\r\nConnection: upgrade\r\n".encode() + HOST + b"\r\n")
    assert (await client.message()).status == 200
    await client.send(b"\x81\x05hello\r\n\r\n")
    assert (await client.message()).status == 400
    assert await client.rest() == b""
    client.close()
    (request,) = upstream.requests
    assert request.values("upgrade") == request.values("connection") == []


async def test_a_body_on_an_upgrade_is_refused(node: Node, upstream: Upstream) -> None:
    """R-91."""
    raw = POST + b"Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nhi"
    await refused(node, upstream, raw, 400, "upgrade_refused")


# --- limits ----------------------------------------------------------------------------------------------------------

TOO_MUCH = {
    "a target too long": (b"GET /open/" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a request line without end": (b"GET /open/" + b"a" * 9000, 414),
    "a method without end": (b"A" * 9000, 414),
    "a field too long": (b"GET /open HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 17_000 + b"\r\n\r\n", 431),
    "too many fields": (b"GET /open HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 100 + b"\r\n", 431),
    "a head too large": (b"GET /open HTTP/1.1\r\n" + HOST + (b"A: " + b"b" * 8000 + b"\r\n") * 5 + b"\r\n", 431),
    "a head without end": (b"GET /open HTTP/1.1\r\n" + HOST + (b"A: " + b"b" * 8000 + b"\r\n") * 5, 431),
}


@pytest.mark.parametrize(("raw", "status"), TOO_MUCH.values(), ids=TOO_MUCH)
async def test_a_head_beyond_the_limits_is_refused_while_it_is_read(
    node: Node, upstream: Upstream, raw: bytes, status: int
) -> None:
    """R-100."""
    await refused(node, upstream, raw, status)


async def test_a_head_at_the_limits_is_served(node: Node, upstream: Upstream) -> None:
    """R-100: 100 fields, 8 KiB of target, 16 KiB of field."""
    field = b"A: " + b"b" * (16 * 1024 - 3) + b"\r\n"
    target = b"/open/" + b"a" * (8 * 1024 - 6)
    raw = b"GET " + target + b" HTTP/1.1\r\n" + HOST + field + b"C: d\r\n" * 98
    assert (await node.ask(raw)).status == 200
    assert len(upstream.requests) == 1


async def configured(folder: Path, redis_url: str, upstream: Upstream, **limits: Any) -> Settings:  # noqa: ANN401 - values of settings
    return nodes.settings(folder, redis_url, upstream.url, limits=limits)


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 1001\r\n\r\n",
        b"Content-Length: 9999999999999999999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1f4\r\n" + b"x" * 500 + b"\r\n" + b"1f5\r\n" + b"x" * 501,
    ],
)
async def test_a_body_beyond_the_limit_is_refused(
    redis_url: str, upstream: Upstream, tmp_path: Path, framing: bytes
) -> None:
    """R-103: by what was declared, and by what came. Also on a connection that has been used before."""
    async with nodes.running(await configured(tmp_path, redis_url, upstream, body_bytes=1000)) as node:
        client = await node.connect()
        await client.send(GET % 1)
        assert (await client.message()).status == 200
        await client.send(POST + framing)
        answer = await client.message()
        assert answer.status == 413
        assert answer.value("connection") == "close"
        assert await client.rest() == b""
        client.close()
        assert len(upstream.requests) == 1
        assert (await node.ask(POST + b"Content-Length: 1000\r\n", b"x" * 1000)).status == 200


async def test_the_gateways_own_calls_take_small_bodies_only(node: Node, upstream: Upstream) -> None:
    """R-103."""
    raw = b"POST /auth/login HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 16385\r\n" + HOST + b"\r\n"
    await refused(node, upstream, raw, 413)


@pytest.mark.parametrize(
    ("sent", "after_s", "status"),
    [
        (b"", 10, None),
        (b"G", 10, 408),
        (b"GET /open HTTP/1.1\r\nHost:", 10, 408),
        (POST + b"Content-Length: 5\r\n\r\n", 30, 408),
        (POST + b"Content-Length: 5\r\n\r\nhe", 30, 408),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe", 30, 408),
    ],
)
async def test_who_is_too_slow_is_sent_away(
    node: Node, upstream: Upstream, sent: bytes, after_s: float, status: int | None
) -> None:
    """R-101."""
    client, other = await node.connect(), await node.connect()
    await client.send(sent)
    await other.send(GET % 1)
    assert (await other.message()).status == 200
    await until(lambda: len(node.worker.edge.connections) == 2)
    node.tick(after_s - 0.6)
    assert len(node.worker.edge.connections) == 2
    node.tick(0.6)
    if status is None:
        assert await client.rest() == b""
    else:
        assert (await client.message()).status == status
        assert await client.rest() == b""
    client.close()
    other.close()
    assert len(upstream.requests) == 1


async def test_a_head_that_drips_has_ten_seconds_in_all(node: Node) -> None:
    """R-101: progress does not help."""
    client = await node.connect()
    for byte in b"GET /open HTTP":
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
        node.tick(0.7)
    await client.send(b"/1.1\r\n")
    node.tick(0.7)
    assert (await client.message()).status == 408
    client.close()


async def test_a_body_that_drips_is_too_slow(node: Node, upstream: Upstream) -> None:
    """R-219, R-101: progress alone does not help; 500 bytes/s in each 30 s do."""
    client = await node.connect()
    await client.send(POST + b"Content-Length: 100\r\n\r\n")
    for _ in range(2):
        await client.send(b"x")
        await _settled()
        node.tick(14)
    assert len(node.worker.edge.connections) == 1
    node.tick(3)
    assert (await client.message()).status == 408
    client.close()
    assert upstream.requests == []


async def test_a_steady_upload_takes_as_long_as_it_takes(node: Node, upstream: Upstream) -> None:
    """R-219: there is no total for what is forwarded; it ends when it stalls."""
    client = await node.connect()
    await client.send(POST + b"Content-Length: 320000\r\n\r\n")
    (connection,) = node.worker.edge.connections
    for part in range(1, 61):
        await client.send(bytes(5_000))
        await until(lambda part=part: connection._body_bytes == part * 5_000)  # type: ignore[misc]  # noqa: SLF001 - what was read
        node.tick(9)
    await client.send(bytes(20_000))
    assert (await client.message()).status == 200
    client.close()
    assert len(upstream.requests[0].body) == 320_000


async def test_an_upload_that_stalls_ends(node: Node, upstream: Upstream) -> None:
    """R-219, R-101: however fast it was before."""
    client = await node.connect()
    await client.send(POST + b"Content-Length: 200000\r\n\r\n" + bytes(100_000))
    (connection,) = node.worker.edge.connections
    await until(lambda: connection._body_bytes == 100_000)  # noqa: SLF001 - what was read
    node.tick(29)
    assert len(node.worker.edge.connections) == 1
    node.tick(2)
    node.tick(2.5)
    await client.gone()
    client.close()
    await until(lambda: not node.worker.edge.connections)
    assert upstream.requests == []


async def test_a_route_may_ask_for_a_rate_of_its_own(redis_url: str, upstream: Upstream, tmp_path: Path) -> None:
    """R-219."""
    routes = [{**one, "body_rate": 2} for one in nodes.routes(upstream.url)]
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, route=routes)) as node:
        client = await node.connect()
        await client.send(POST + b"Content-Length: 200\r\n\r\n" + bytes(60))
        (connection,) = node.worker.edge.connections
        await until(lambda: connection._body_bytes == 60)  # noqa: SLF001 - what was read
        node.tick(29)
        await client.send(bytes(59))
        await until(lambda: connection._body_bytes == 119)  # noqa: SLF001 - the same
        node.tick(1)
        node.tick(28)
        assert len(node.worker.edge.connections) == 1
        node.tick(2)
        assert (await client.message()).status == 408
        client.close()


async def test_a_call_of_the_gateways_own_has_a_total(node: Node) -> None:
    """R-219, R-101: its body is small, so it has no reason to take long."""
    client = await node.connect()
    await client.send(b"POST /auth/login HTTP/1.1\r\nContent-Length: 16000\r\n" + HOST + b"\r\n" + bytes(8000))
    (connection,) = node.worker.edge.connections
    for part in (1, 2):
        await client.send(bytes(1000))
        await until(lambda part=part: connection._body_bytes == 8000 + part * 1000)  # type: ignore[misc]  # noqa: SLF001 - what was read
        node.tick(14)
    assert len(node.worker.edge.connections) == 1
    node.tick(3)
    assert (await client.message()).status == 408
    client.close()


async def test_an_idle_connection_is_closed_silently(node: Node) -> None:
    """R-101."""
    client = await node.connect()
    await client.send(GET % 1)
    assert (await client.message()).status == 200
    node.tick(14)
    assert len(node.worker.edge.connections) == 1
    node.tick(1.5)
    assert await client.rest() == b""
    client.close()


@pytest.mark.parametrize("limit", ["connections", "connections_per_peer"])
async def test_connections_are_bounded(redis_url: str, upstream: Upstream, tmp_path: Path, limit: str) -> None:
    """R-102: one more is answered 503; a place that gets free can be taken."""
    async with nodes.running(await configured(tmp_path, redis_url, upstream, **{limit: 3})) as node:
        edge = node.worker.edge
        clients = [await node.connect() for _ in range(3)]
        await until(lambda: len(edge.connections) == 3)
        one_more = await node.connect()
        answer = await one_more.message()
        assert answer.status == 503
        assert answer.value("retry-after") == "1"
        assert await one_more.rest() == b""
        one_more.close()
        clients.pop().close()
        await until(lambda: len(edge.connections) == 2)
        assert (await node.get("/open")).status == 200
        for client in clients:
            client.reset()
        await until(lambda: not edge.connections)
        assert edge.peers == {}


async def test_a_trusted_proxy_is_not_one_peer(redis_url: str, upstream: Upstream, tmp_path: Path) -> None:
    """R-102: all clients behind it have its address."""
    settings = nodes.settings(
        tmp_path,
        redis_url,
        upstream.url,
        limits={"connections_per_peer": 1},
        server={"trusted_proxies": ["127.0.0.1/32"]},
    )
    async with nodes.running(settings) as node:
        clients = [await node.connect() for _ in range(3)]
        for client in clients:
            await client.send(GET % 1)
            assert (await client.message()).status == 200
            client.close()


async def test_who_asks_on_and_on_and_never_reads_is_not_answered_on_and_on(node: Node) -> None:
    """R-107: responses that the client does not read must not pile up in the worker."""
    client = await node.connect(receive_buffer=4096)
    await until(lambda: len(node.worker.edge.connections) == 1)
    (connection,) = node.worker.edge.connections
    transport = connection._transport  # noqa: SLF001 - what is not sent yet can be seen nowhere else
    request = b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n"
    highest = 0
    for _ in range(300):
        client.write(request * 500)
        await asyncio.sleep(0)
        highest = max(highest, transport.get_write_buffer_size())
    assert highest < 512 * 1024
    node.tick(20)
    node.tick(31)
    node.tick(31)
    await until(lambda: not node.worker.edge.connections)
    client.close()


async def test_who_reads_late_gets_every_answer(node: Node) -> None:
    client = await node.connect(receive_buffer=4096)
    request = b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n"
    client.write(request * 3000)
    await _settled()
    for _ in range(3000):
        assert (await client.message()).status == 404
    client.write(GET % 1)
    assert (await client.message()).status == 200
    client.close()


# --- draining --------------------------------------------------------------------------------------------------------


async def test_a_node_that_drains_says_so_and_ends_its_connections(node: Node, upstream: Upstream) -> None:
    idle_one, busy = await node.connect(), await node.connect()
    await until(lambda: len(node.worker.edge.connections) == 2)
    upstream.play(manual())
    await busy.send(GET % 1 + b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n")
    service = await upstream.connection()
    await service.message()
    node.worker.edge.draining = True
    for connection in list(node.worker.edge.connections):
        connection.shutdown()
    assert await idle_one.rest() == b""
    await service.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    answer = await busy.message()
    assert answer.status == 200
    assert answer.value("connection") == "close"
    assert await busy.rest() == b""
    ready = await node.get("/readyz")
    assert ready.status == 503
    assert ready.value("connection") == "close"
    idle_one.close()
    busy.close()


async def _settled() -> None:
    """Let everything that is on its way arrive."""
    for _ in range(20):
        await asyncio.sleep(0)
