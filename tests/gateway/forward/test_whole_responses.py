"""A response in one piece, with a head that was seen before, is forwarded in one step, and is no other response."""

from __future__ import annotations

import re

import pytest

from tests.support.node import Node
from tests.support.upstream import OK, Upstream
from tests.support.wires import pool_of, request

_OWN = re.compile(rb"X-Request-Id: [0-9a-f]{32}\r\n|Date: [^\r]*\r\n")

ANSWERS = {
    "a body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello",
    "an empty body": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a date": b"HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nno",
    "two cookies": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 1\r\n\r\nx",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
}


async def told(gateway: Node, service: Upstream, pieces: list[bytes], ask: bytes) -> bytes:
    """What a client is told of an answer that comes in these pieces, without what differs each time."""
    client = await gateway.connect()
    await client.send(ask)
    wire = await service.connection()
    await wire.message()
    for piece in pieces:
        await wire.send(piece)
    answer = await client.message(body=not ask.startswith(b"HEAD"))
    client.close()
    wire.close()
    await wire.gone()
    return _OWN.sub(b"", answer.raw)


@pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_in_one_piece_or_in_many_it_is_the_same_answer(
    gateway: Node, service: Upstream, raw: bytes, version: str
) -> None:
    ask = request("GET", "Connection: keep-alive\r\n", version=version)
    first = await told(gateway, service, [raw], ask)
    assert await told(gateway, service, [raw], ask) == first
    end = raw.index(b"\r\n\r\n") + 4
    if raw[end:]:
        assert await told(gateway, service, [raw[:end], raw[end:]], ask) == first
    assert await told(gateway, service, [raw[:9], raw[9:]], ask) == first


async def test_the_answer_to_head_is_never_taken_for_one_with_a_body(gateway: Node, service: Upstream) -> None:
    """R-194: though the same head was seen with a body."""
    raw = ANSWERS["a body"]
    await told(gateway, service, [raw], request())
    assert (await told(gateway, service, [raw[:-5]], request("HEAD"))).endswith(b"\r\n\r\n")


async def test_bytes_beyond_a_whole_answer_are_nobodys(gateway: Node, service: Upstream) -> None:
    """R-89, R-196: also where the head was seen before."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).body == b"ok"
    await client.send(request())
    await wire.message()
    await wire.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
    assert (await client.message()).body == b"ok"
    await client.send(request())
    fresh = await service.connection()
    await fresh.message()
    await fresh.send(OK)
    assert (await client.message()).body == b"ok"
    assert await wire.gone() == b""
    client.close()


async def test_answers_that_were_put_off_come_before_what_is_said_next(gateway: Node, service: Upstream) -> None:
    """Two requests in one packet, the second of them refused: in order, and both whole."""
    pool = pool_of(gateway)
    client = await gateway.connect()
    await client.send(request() + b"GET /open/../x HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).body == b"ok"
    assert (await client.message()).code == "malformed_target"
    assert await client.gone() == b""
    assert pool.load == 0
    client.close()
