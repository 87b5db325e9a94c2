"""A service's response on its way to the client: R-89, R-191, R-193, R-194."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import until
from tests.support.upstream import OK, Upstream
from tests.support.wires import answered, pool_of, request, taken_apart


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


async def test_a_content_coding_passes_unopened_both_ways(gateway: Node, service: Upstream) -> None:
    """R-104: neither body is gzip at all, which a gateway that opened one of them would notice."""
    client = await gateway.connect()
    await client.send(request("POST", "Content-Encoding: gzip\r\nContent-Length: 5\r\n") + b"12345")
    wire = await service.connection()
    got = await wire.message()
    assert (got.value("content-encoding"), got.body) == ("gzip", b"12345")
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde")
    relayed = await client.message()
    assert (relayed.value("content-encoding"), relayed.body) == ("gzip", b"abcde")
    client.close()


async def test_a_client_of_http_1_0_gets_no_chunks(gateway: Node, service: Upstream) -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    got = taken_apart(await answered(gateway, service, raw, version="1.0"))
    assert got.values("transfer-encoding") == got.values("content-length") == []
    assert got.value("connection") == "close"
    assert got.body == b"hello"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_what_has_no_body_gets_none(gateway: Node, service: Upstream, status: str, framing: bytes) -> None:
    """R-194, R-89: the client gets no body, and the service's bytes are not the response to another request."""
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
    assert got.value("date") == gateway.worker.base.ticker.date
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
    await until(lambda: not gateway.worker.edge.connections)


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
    assert got.count(b"HTTP/1.1 ") == 1
    if b"Content-Length: 10" in got:
        assert len(got.partition(b"\r\n\r\n")[2]) < 10
    client.close()
    await until(lambda: pool_of(gateway).load == 0)


@pytest.mark.parametrize("more", [b"", b"zz\r\n"], ids=["closed", "a bad chunk"])
async def test_a_client_that_knows_no_chunks_gets_a_reset_where_the_answer_breaks_off(
    gateway: Node, service: Upstream, more: bytes
) -> None:
    """R-191: for it the end of the connection would be the end of the answer."""
    client = await gateway.connect()
    await client.send(request().replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    wire = await service.connection()
    await wire.message()
    await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert await client.exactly(len(b"HTTP/1.1 200 OK")) == b"HTTP/1.1 200 OK"
    if more:
        await wire.send(more)
    else:
        wire.close()
    with pytest.raises(ConnectionResetError):
        await client.rest()


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


async def test_a_service_that_refuses_the_gateways_signature_is_a_502_and_no_expired_login(
    redis_url: str, tmp_path: Path
) -> None:
    refusal = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Signature realm="x"\r\nContent-Length: 0\r\n\r\n'
    async with (
        upstreams.running(upstreams.recorder(refusal)) as service,
        nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as node,
    ):
        answer = await node.get("/open/x")
    assert (answer.status, answer.code) == (502, "link_refused")


async def test_a_401_of_the_services_own_is_passed_on(redis_url: str, tmp_path: Path) -> None:
    own = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
    async with (
        upstreams.running(upstreams.recorder(own)) as service,
        nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as node,
    ):
        assert (await node.get("/open/x")).status == 401
