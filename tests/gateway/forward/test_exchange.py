"""To the service and back, over real sockets: SECURITY R-88, R-89, R-107, R-108, R-190 to R-196."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.forward.pool import UpstreamPool
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import HOST, Node
from tests.support.raw import WITHIN_S, Message, Wire
from tests.support.upstream import OK, Upstream

MIB = 1024 * 1024


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Upstream]:
    """A service that the test plays by hand."""
    async with upstreams.running(upstreams.manual()) as running:
        yield running


@pytest_asyncio.fixture
async def gateway(redis_url: str, service: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as running:
        yield running


def request(method: str = "GET", fields: str = "", *, version: str = "1.1", path: str = "/open") -> bytes:
    return f"{method} {path} HTTP/{version}\r\n{HOST}{fields}\r\n".encode()


def pool_of(node: Node) -> UpstreamPool:
    (pool,) = node.worker._pools.values()  # noqa: SLF001 - permits can be seen nowhere else
    return pool


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0)


async def answered(gateway: Node, service: Upstream, raw: bytes, *, method: str = "GET", version: str = "1.1") -> bytes:
    """Everything a client gets for an answer of these bytes, after which the service closes."""
    client = await gateway.connect()
    await client.send(request(method, "Connection: close\r\n", version=version))
    wire = await service.connection()
    await wire.message()
    await wire.send(raw)
    wire.close()
    got = await client.gone()
    client.close()
    return got


def taken_apart(raw: bytes, *, body: bool = True) -> Message:
    head, _, rest = raw.partition(b"\r\n\r\n")
    message = Message(head + b"\r\n\r\n", rest, raw)
    assert body or rest == b""
    return message


# --- answers ---------------------------------------------------------------------------------------------------------


async def test_an_answer_of_known_length_is_relayed(gateway: Node, service: Upstream) -> None:
    got = taken_apart(await answered(gateway, service, b"HTTP/1.1 201 Made\r\nContent-Length: 5\r\nA: b\r\n\r\nhello"))
    assert got.line == "HTTP/1.1 201 Made"
    assert got.value("content-length") == "5"
    assert got.value("a") == "b"
    assert got.body == b"hello"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-User-Id: u\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ],
)
async def test_an_answer_of_unknown_length_is_relayed_in_chunks(gateway: Node, service: Upstream, raw: bytes) -> None:
    """R-56 for answers: extensions and trailers are dropped."""
    got = taken_apart(await answered(gateway, service, raw))
    assert got.values("transfer-encoding") == ["chunked"]
    assert got.values("content-length") == []
    assert got.body.replace(b"3\r\nhel\r\n2\r\nlo\r\n", b"5\r\nhello\r\n") == b"5\r\nhello\r\n0\r\n\r\n"


async def test_a_client_of_http_1_0_gets_no_chunks(gateway: Node, service: Upstream) -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    got = taken_apart(await answered(gateway, service, raw, version="1.0"))
    assert got.values("transfer-encoding") == got.values("content-length") == []
    assert got.value("connection") == "close"
    assert got.body == b"hello"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_what_has_no_body_gets_none(gateway: Node, service: Upstream, status: str, framing: bytes) -> None:
    """R-194, R-89: whatever the service sends; and what it sends is nobody's answer."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(f"HTTP/1.1 {status}\r\n".encode() + framing + b"\r\n5\r\nhello\r\n0\r\n\r\n")
    assert (await client.message()).line == f"HTTP/1.1 {status}"
    await client.send(request())
    fresh = await service.connection()
    await fresh.message()
    await fresh.send(OK)
    assert (await client.message()).body == b"ok"
    assert await wire.gone() == b""
    client.close()


async def test_the_answer_to_head_keeps_its_length_and_has_no_body(gateway: Node, service: Upstream) -> None:
    """R-194."""
    client = await gateway.connect()
    await client.send(request("HEAD"))
    wire = await service.connection()
    assert (await wire.message()).line == "HEAD /open HTTP/1.1"
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    answer = await client.message(body=False)
    assert answer.value("content-length") == "5"
    await client.send(request())
    assert (await wire.message()).line == "GET /open HTTP/1.1"  # on the same connection
    await wire.send(OK)
    assert (await client.message()).raw.endswith(b"\r\n\r\nok")
    client.close()


async def test_interim_answers_are_not_the_answer(gateway: Node, service: Upstream) -> None:
    """R-194."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    got = taken_apart(await answered(gateway, service, interim + OK))
    assert got.status == 200
    assert got.body == b"ok"


async def test_an_answer_without_date_gets_one(gateway: Node, service: Upstream) -> None:
    """RFC 9110 section 6.6.1."""
    got = taken_apart(await answered(gateway, service, OK))
    assert got.value("date") == gateway.worker.ticker.date
    dated = OK.replace(b"\r\n\r\n", b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n")
    assert taken_apart(await answered(gateway, service, dated)).values("date") == ["Sun, 06 Nov 1994 08:49:37 GMT"]


async def test_the_head_of_an_event_stream_does_not_wait_for_an_event(gateway: Node, service: Upstream) -> None:
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    head = await client.exactly(len(b"HTTP/1.1 200 OK\r\n"))
    assert head == b"HTTP/1.1 200 OK\r\n"
    client.reset()
    assert await wire.gone() == b""


BROKEN = {
    "nothing at all": b"",
    "no status line": b"hello\r\n\r\n",
    "HTTP/0.9": b"hello",
    "another version": b"HTTP/2.0 200 OK\r\n\r\n",
    "no code": b"HTTP/1.1 OK\r\n\r\n",
    "a code of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a code out of range": b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a bare line feed": b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
    "a bare carriage return": b"HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n",
    "a control character": b"HTTP/1.1 200 OK\r\nA: \x01\r\nContent-Length: 0\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 0\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "a blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bad chunk at once": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000,
    "a head too large": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"Content-Length: 0\r\n\r\n",
    "a switch nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "interim answers only": b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    "interim answers without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + OK,
    "a head cut short": b"HTTP/1.1 200 OK\r\nContent-Le",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_answer_becomes_502(gateway: Node, service: Upstream, raw: bytes) -> None:
    """R-190, R-193: nothing of it reaches the client, and the connection is not used again."""
    got = await answered(gateway, service, raw)
    message = taken_apart(got)
    assert message.status == 502
    assert message.code == "upstream_failed"
    assert got.count(b"HTTP/1.1 ") == 1
    assert int(message.value("content-length")) == len(message.body)
    assert pool_of(gateway).load == 0
    assert gateway.worker.edge.connections == set()


CUT = {
    "known length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello",
    "between chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "before the trailer ends": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "a bad chunk later": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
}


@pytest.mark.parametrize("raw", CUT.values(), ids=CUT)
@pytest.mark.parametrize("ending", ["closed", "reset"])
async def test_an_answer_cut_short_never_looks_complete(
    gateway: Node, service: Upstream, raw: bytes, ending: str
) -> None:
    """R-191."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    head, _, body = raw.partition(b"\r\n\r\n")
    await wire.send(head + b"\r\n\r\n" + body[:4])
    started = await client.exactly(len(b"HTTP/1.1 200 OK"))
    await wire.send(body[4:])
    if ending == "closed":
        wire.close()
    else:
        wire.reset()
    got = started + await client.gone()
    assert not got.endswith(b"0\r\n\r\n")
    assert b"502" not in got
    if b"Content-Length: 10" in got:
        assert len(got.partition(b"\r\n\r\n")[2]) < 10
    client.close()
    await until(lambda: pool_of(gateway).load == 0)


async def test_what_a_service_sends_beyond_its_answer_is_nobodys(gateway: Node, service: Upstream) -> None:
    """R-89, R-196: neither this client's nor the next one's."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
    assert (await client.message()).body == b"ok"
    await client.send(request())
    fresh = await service.connection()
    await fresh.message()
    await fresh.send(OK)
    assert (await client.message()).body == b"ok"
    client.close()


async def test_an_answer_nobody_asked_for_is_nobodys(gateway: Node, service: Upstream) -> None:
    """R-89."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).body == b"ok"
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
    assert await wire.gone() == b""
    await client.send(request())
    fresh = await service.connection()
    await fresh.message()
    await fresh.send(OK)
    assert (await client.message()).body == b"ok"
    client.close()


# --- the service is away or slow -------------------------------------------------------------------------------------


async def test_a_service_that_is_away_is_502(redis_url: str, tmp_path: Path) -> None:
    """R-190: and nothing about where it would have been."""
    with upstreams.nobody() as url:
        async with nodes.running(nodes.settings(tmp_path, redis_url, url)) as node:
            answer = await node.get("/open")
            assert answer.status == 502
            assert answer.code == "upstream_unreachable"
            assert url.rpartition(":")[2].encode() not in answer.raw
            assert pool_of(node).load == 0


async def test_a_service_that_says_nothing_is_504(gateway: Node, service: Upstream) -> None:
    """R-190, R-89: and its connection is closed."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    gateway.tick(9)
    gateway.tick(2)
    answer = await client.message()
    assert answer.status == 504
    assert answer.values("connection") == []  # the client's own connection is as good as before
    assert await wire.gone() == b""
    client.close()
    assert pool_of(gateway).load == 0


async def test_a_service_that_falls_silent_in_its_answer_is_cut_off(gateway: Node, service: Upstream) -> None:
    """R-191."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    got = await client.exactly(40)
    gateway.tick(11)
    got += await client.gone()
    assert got.endswith(b"hello")
    client.close()
    await until(lambda: pool_of(gateway).load == 0)


async def test_a_slow_service_does_not_slow_the_others(redis_url: str, tmp_path: Path, service: Upstream) -> None:
    """R-195: its places run out and then it is 503 at once; other services have their own."""
    async with upstreams.running(upstreams.recorder()) as other:
        route = [
            {"name": "slow", "prefix": "/slow", "auth": "public", "methods": ["GET"], "upstreams": [service.url]},
            {"name": "fast", "prefix": "/fast", "auth": "public", "methods": ["GET"], "upstreams": [other.url]},
        ]
        sections = {"route": route, "roles": {}, "upstream": {"connections": 2, "waiting": 3}}
        async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, **sections)) as node:
            clients = [await node.connect() for _ in range(5)]
            slow = next(pool for url, pool in node.worker._pools.items() if url == service.url)  # noqa: SLF001
            for count, client in enumerate(clients, 1):
                await client.send(request(path="/slow"))
                await until(lambda count=count: slow.load == count)  # type: ignore[misc]
            with contextlib.suppress(TimeoutError):
                while (answer := await node.get("/slow")).status != 503:
                    pass
            assert answer.code == "upstream_busy"
            assert (await node.get("/fast")).status == 200
            for client in clients:
                client.reset()
            await until(lambda: slow.load == 0)


# --- retries ---------------------------------------------------------------------------------------------------------


async def stale(gateway: Node, service: Upstream, raw: bytes) -> tuple[Wire, Wire]:
    """A request on a kept connection that the service closes without a byte of an answer."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).status == 200
    await client.send(raw)
    await wire.message()
    wire.close()
    return client, wire


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_an_idempotent_request_on_a_stale_connection_is_sent_once_more(
    gateway: Node, service: Upstream, method: str
) -> None:
    """R-192: with its body."""
    client, _ = await stale(gateway, service, request(method, "Content-Length: 5\r\n") + b"hello")
    fresh = await service.connection()
    again = await fresh.message()
    assert again.line == f"{method} /open HTTP/1.1"
    assert again.body == b"hello"
    await fresh.send(OK if method != "HEAD" else OK[:-2])
    assert (await client.message(body=method != "HEAD")).status == 200
    client.close()
    assert service.accepted == 2


async def test_it_is_sent_once_more_and_no_more(gateway: Node, service: Upstream) -> None:
    """R-192."""
    client, _ = await stale(gateway, service, request())
    fresh = await service.connection()
    await fresh.message()
    fresh.close()
    assert (await client.message()).status == 502
    client.close()
    assert service.accepted == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_may_have_happened_is_not_sent_again(gateway: Node, service: Upstream, method: str) -> None:
    """R-192."""
    client, _ = await stale(gateway, service, request(method, "Content-Length: 5\r\n") + b"hello")
    assert (await client.message()).status == 502
    client.close()
    assert service.accepted == 1


async def test_a_body_that_was_not_kept_is_not_sent_again(gateway: Node, service: Upstream) -> None:
    """R-192: never retried empty."""
    size = 200_000
    client, _ = await stale(gateway, service, request("PUT", f"Content-Length: {size}\r\n") + b"x" * size)
    assert (await client.message()).status == 502
    client.close()
    assert service.accepted == 1


@pytest.mark.parametrize("sent", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_after_the_first_byte_of_an_answer_nothing_is_sent_again(
    gateway: Node, service: Upstream, sent: bytes
) -> None:
    """R-192."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).status == 200
    await client.send(request())
    await wire.message()
    await wire.send(sent)
    wire.close()
    assert (await client.message()).status == 502
    client.close()
    assert service.accepted == 1


async def test_a_fresh_connection_that_breaks_is_no_reason_to_try_again(gateway: Node, service: Upstream) -> None:
    """R-192."""
    assert taken_apart(await answered(gateway, service, b"")).status == 502
    assert service.accepted == 1


async def test_a_connection_that_was_closed_while_idle_is_not_used(gateway: Node, service: Upstream) -> None:
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).status == 200
    wire.close()
    await wire.gone()
    await until(lambda: not pool_of(gateway)._connections)  # noqa: SLF001
    await client.send(request("POST", "Content-Length: 2\r\n") + b"hi")
    fresh = await service.connection()
    assert (await fresh.message()).body == b"hi"
    await fresh.send(OK)
    assert (await client.message()).status == 200
    client.close()


async def test_idle_connections_to_a_service_are_closed_after_a_while(gateway: Node, service: Upstream) -> None:
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).status == 200
    gateway.tick(31)
    assert await wire.gone() == b""
    client.close()


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 150_000, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("path", ["/open", "/profile"])
async def test_a_body_of_any_size_arrives_whole_and_framed_once(
    node: Node, upstream: Upstream, size: int, path: str, *, chunked: bool
) -> None:
    """R-87: and only what a digest may cover is covered by one."""
    body = random.Random(size).randbytes(size)  # noqa: S311 - no secret
    if chunked:
        pieces = [body[index : index + 7001] for index in range(0, size, 7001)]
        raw = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        framing = "Transfer-Encoding: chunked\r\n"
    else:
        raw, framing = body, f"Content-Length: {size}\r\n"
    client = await node.connect()
    client.write(request("POST", node.tokens.bearer() + framing, path=path) + raw)
    assert (await client.message()).status == 200
    client.close()
    (got,) = upstream.requests
    assert got.body == body
    assert len(got.values("content-length")) + len(got.values("transfer-encoding")) == 1
    assert bool(got.values("content-digest")) == (0 < size <= 65_536)


async def test_a_small_body_is_read_whole_before_the_service_hears_of_it(gateway: Node, service: Upstream) -> None:
    client = await gateway.connect()
    await client.send(request("POST", "Content-Length: 5\r\n") + b"hel")
    for _ in range(20):
        await asyncio.sleep(0)
    assert service.accepted == 0
    client.reset()
    await until(lambda: not gateway.worker.edge.connections)
    assert service.accepted == 0


async def test_an_answer_before_the_body_was_read_ends_the_clients_connection(
    gateway: Node, service: Upstream
) -> None:
    """R-88, R-89: what is left of the body is nobody's next request."""
    smuggled = request(path="/open/smuggled")
    client = await gateway.connect()
    await client.send(request("POST", f"Content-Length: {10 * MIB}\r\n") + b"x" * 100_000)
    wire = await service.connection()
    await wire.exactly(100_000)
    await wire.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    answer = await client.message()
    assert answer.status == 403
    assert answer.value("connection") == "close"
    await client.send(smuggled)
    assert await client.rest() == b""
    client.close()
    assert b"smuggled" not in await wire.gone()
    assert service.accepted == 1
    assert pool_of(gateway).load == 0


async def test_a_refused_stream_is_cut_off_at_the_service(gateway: Node, service: Upstream) -> None:
    """R-84 with a body too large to be held back: the service never sees its end."""
    client = await gateway.connect()
    await client.send(request("POST", "Transfer-Encoding: chunked\r\n") + b"1ffff\r\n" + b"x" * 0x1FFFF + b"\r\n")
    wire = await service.connection()
    await wire.exactly(0x1FFFF)
    await client.send(b"bad\n")
    assert (await client.message()).status == 400
    assert await client.rest() == b""
    client.close()
    assert not (await wire.gone()).endswith(b"0\r\n\r\n")
    assert pool_of(gateway).load == 0


# --- back-pressure ---------------------------------------------------------------------------------------------------

LARGE = 100 * MIB


def memory() -> int:
    """Resident bytes of this process, which is client, gateway and service in one."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_a_large_answer_to_a_slow_reader_costs_no_memory(gateway: Node, service: Upstream) -> None:
    """R-107."""
    client = await gateway.connect(receive_buffer=16 * 1024)
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n".encode())
    before, highest, block = memory(), 0, b"x" * (256 * 1024)

    async def produce() -> None:
        for _ in range(LARGE // len(block)):
            await wire.send(block)

    producing = asyncio.create_task(produce())
    head = await client.message(body=False)
    left = int(head.value("content-length"))
    while left:
        left -= len(await client.read(64 * 1024))
        highest = max(highest, memory())
    await producing
    client.close()
    assert highest - before < 16 * MIB


async def test_a_large_body_to_a_slow_service_costs_no_memory(
    redis_url: str, service: Upstream, tmp_path: Path
) -> None:
    """R-107."""
    limits = {"body_bytes": 2 * LARGE}
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, limits=limits)) as node:
        client = await node.connect()
        await client.send(request("POST", f"Content-Length: {LARGE}\r\n"))
        before, highest, block = memory(), 0, b"x" * (256 * 1024)

        async def produce() -> None:
            for _ in range(LARGE // len(block)):
                await client.send(block)

        producing = asyncio.create_task(produce())
        wire = await service.connection()
        head = await wire.message(body=False)
        left = int(head.value("content-length"))
        while left:
            left -= len(await wire.read(64 * 1024))
            highest = max(highest, memory())
        await producing
        await wire.send(OK)
        assert (await client.message()).status == 200
        client.close()
        assert highest - before < 16 * MIB


async def test_a_reader_that_has_stopped_is_given_up(gateway: Node, service: Upstream) -> None:
    """R-101, R-107, R-108."""
    client = await gateway.connect(receive_buffer=4096)
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    wire.write(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n".encode() + b"x" * (30 * MIB))
    (connection,) = gateway.worker.edge.connections
    await until(lambda: connection._behind)  # noqa: SLF001
    for _ in range(3):
        gateway.tick(31)
    await until(lambda: not gateway.worker.edge.connections)
    assert pool_of(gateway).load == 0
    client.reset()
    wire.reset()


# --- clients that leave ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["in the body", "waiting", "in the answer"])
@pytest.mark.parametrize("ending", ["closes", "resets"])
async def test_a_client_that_leaves_takes_its_request_along(
    gateway: Node, service: Upstream, moment: str, ending: str
) -> None:
    """R-108: the service sees the end, and every permit is free."""
    client = await gateway.connect()
    size = 300_000 if moment == "in the body" else 2
    await client.send(request("POST", f"Content-Length: {size}\r\n") + b"x" * min(size, 150_000))
    wire = await service.connection()
    if moment == "in the body":
        await wire.exactly(150_000)
    else:
        await wire.message()
    if moment == "in the answer":
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await client.exactly(20)
    if ending == "closes":
        client.close()
    else:
        client.reset()
    await asyncio.sleep(0)
    gateway.tick(0.1)
    # A close cannot be told from a half-close: the answer is still tried for two seconds.
    if ending == "closes":
        await until(lambda: all(one._saw_eof for one in gateway.worker.edge.connections))  # noqa: SLF001
        gateway.tick(2.5)
    assert await wire.gone() is not None
    await until(lambda: not gateway.worker.edge.connections)
    assert pool_of(gateway).load == 0
    assert gateway.worker.edge.peers == {}


async def test_a_thousand_aborted_requests_leave_nothing_behind(gateway: Node, service: Upstream) -> None:
    """R-108: no task, no socket, no connection to Redis; and the next client is served."""
    chance = random.Random(7)  # noqa: S311 - no secret
    tasks = len(asyncio.all_tasks())
    service.play(_answers_sometimes)

    async def abort() -> None:
        client = await gateway.connect()
        fields = gateway.tokens.bearer()
        raw = request("POST", f"{fields}Content-Length: 5\r\n", path="/orders") + b"hello"
        await client.send(raw[: chance.randrange(len(raw) + 1)])
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        client.reset()

    for _ in range(50):
        await asyncio.gather(*(abort() for _ in range(20)))
    await until(lambda: not gateway.worker.edge.connections)
    await until(lambda: pool_of(gateway).load == 0)
    assert gateway.worker.edge.peers == {}
    service.play(upstreams.recorder())
    gateway.tick(31)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert (await gateway.get("/orders", gateway.tokens.bearer())).status == 200


async def _answers_sometimes(_: Upstream, wire: Wire) -> None:
    number = 0
    while True:
        await wire.message()
        number += 1
        if number % 3:
            await wire.send(OK)


async def test_answers_are_never_crossed(redis_url: str, tmp_path: Path) -> None:
    """R-108, R-196: clients that leave at random moments, and each of the others gets its own answer."""
    async with (
        upstreams.running(_echo) as service,
        nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as node,
    ):
        chance = random.Random(3)  # noqa: S311 - no secret

        async def ask(number: int) -> None:
            client = await node.connect()
            for turn in range(5):
                sub = f"user-{number}-{turn}"
                await client.send(request(fields=node.tokens.bearer(sub=sub), path=f"/profile/{sub}"))
                if chance.random() < 0.2:
                    for _ in range(chance.randrange(20)):
                        await asyncio.sleep(0)
                    client.reset()
                    return
                assert (await client.message()).body.decode() == f"/profile/{sub} {sub}"
            client.close()

        for start in range(0, 400, 40):
            await asyncio.gather(*(ask(start + number) for number in range(40)))
        await until(lambda: not node.worker.edge.connections)
        assert pool_of(node).load == 0


async def _echo(_: Upstream, wire: Wire) -> None:
    while True:
        got = await wire.message()
        body = f"{got.line.split()[1]} {got.value('x-user-id')}".encode()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
