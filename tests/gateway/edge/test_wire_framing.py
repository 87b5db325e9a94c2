"""One reading of where a request begins and ends: R-80 to R-87, R-90."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import node as nodes
from tests.support.node import Node
from tests.support.rules import HOST, refused, served
from tests.support.upstream import Upstream

POST = b"POST /open/x HTTP/1.1\r\n" + HOST
SMUGGLED = b"GET /open/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"

AMBIGUOUS = {
    "length and chunked": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    "two equal lengths": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 0\r\n",
    "a list of lengths": b"Content-Length: 5, 5\r\n",
    "a sign": b"Content-Length: +5\r\n",
    "a minus": b"Content-Length: -5\r\n",
    "hexadecimal": b"Content-Length: 0x5\r\n",
    "an underscore": b"Content-Length: 1_0\r\n",
    "a blank inside": b"Content-Length: 1 0\r\n",
    "empty": b"Content-Length: \r\n",
    "a fraction": b"Content-Length: 5.0\r\n",
    "twenty digits": b"Content-Length: 99999999999999999999\r\n",
    "other digits": "Content-Length: \u0665\r\n".encode(),
    "a quoted length": b'Content-Length: "5"\r\n',
    "two codings": b"Transfer-Encoding: gzip, chunked\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "two coding fields": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked, then identity": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "a leading comma": b"Transfer-Encoding: ,chunked\r\n",
    "a trailing comma": b"Transfer-Encoding: chunked,\r\n",
    "a parameter": b"Transfer-Encoding: chunked;q=1\r\n",
    "a quoted coding": b'Transfer-Encoding: "chunked"\r\n',
    "an empty coding": b"Transfer-Encoding: \r\n",
}


@pytest.mark.parametrize("fields", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_body_whose_length_two_readers_could_disagree_about_is_refused(
    node: Node, upstream: Upstream, fields: bytes
) -> None:
    """R-80, R-81, R-82, R-83."""
    await refused(node, upstream, POST + fields + b"\r\n0\r\n\r\n" + SMUGGLED, 400, "ambiguous_framing")


@pytest.mark.parametrize("coding", [b"gzip", b"identity", b"xchunked", b"chunke"])
async def test_an_unknown_transfer_coding_is_not_implemented(node: Node, upstream: Upstream, coding: bytes) -> None:
    """R-83."""
    await refused(node, upstream, POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n", 501)


async def test_chunked_is_refused_in_http_1_0(node: Node, upstream: Upstream) -> None:
    """R-83."""
    raw = b"POST /open HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    await refused(node, upstream, raw, 400, "ambiguous_framing")


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED", b"\t chunked \t"])
async def test_chunked_in_any_case_is_understood(node: Node, upstream: Upstream, coding: bytes) -> None:
    raw = POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert (await served(node, upstream, raw)).body == b"hello"


BAD_CHUNKS = {
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "not hexadecimal": b"g\r\nhello\r\n0\r\n\r\n",
    "a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a blank before": b" 5\r\nhello\r\n0\r\n\r\n",
    "a blank after": b"5 \r\nhello\r\n0\r\n\r\n",
    "seventeen digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "bare line feed after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare carriage return after the size": b"5\rhello\r\n0\r\n\r\n",
    "bare line feed after the data": b"5\r\nhello\n0\r\n\r\n",
    "two bytes that are no line end after the data": b"5\r\nhelloXX0\r\n\r\n",
    "more data than announced": b"5\r\nhelloo\r\n0\r\n\r\n",
    "less data than announced": b"6\r\nhello\r\n0\r\n\r\n",
    "line feed in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "carriage return in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a\0b\r\nhello\r\n0\r\n\r\n",
    "an endless extension": b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
    "an extension that does not end": b"5;" + b"a" * 4000,
    "bare line feed after the last chunk": b"5\r\nhello\r\n0\n\r\n",
    "bare line feed in the trailer": b"0\r\nA: b\n\r\n",
    "a trailer that is no field": b"0\r\nno colon\r\n\r\n",
    "a blank before the colon of a trailer": b"0\r\nA : b\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "a trailer too large": b"0\r\n" + b"A: " + b"b" * 5000 + b"\r\n\r\n",
    "more trailers than fields in a head": b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n",
    "trailers without end": b"0\r\n" + b"A: bcd\r\n" * 1000,
}


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_a_body_that_is_not_chunks_to_the_letter_is_refused(
    node: Node, upstream: Upstream, chunks: bytes
) -> None:
    """R-84."""
    await refused(node, upstream, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, 400, "malformed_request")


async def test_chunk_extensions_and_trailers_are_read_and_dropped(node: Node, upstream: Upstream) -> None:
    """R-56, R-84, R-87."""
    chunks = b'3;ext="v"\r\nhel\r\n2 ; x\r\nlo\r\n0\r\nX-User-Id: root\r\nContent-Length: 9\r\n\r\n'
    request = await served(node, upstream, POST + b"Trailer: X-User-Id\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert request.body == b"hello"
    assert request.values("content-length") == ["5"]
    assert request.values("transfer-encoding") == []
    assert b"root" not in request.raw
    assert b"ext" not in request.body


async def test_chunks_that_are_mostly_overhead_are_too_large(node: Node, upstream: Upstream) -> None:
    """R-84, R-103: a body of one byte in each chunk line of 256 is bounded by what it takes on the wire."""
    limit = node.settings.limits.body_bytes
    chunk = b"1;" + b"a" * 250 + b"\r\nx\r\n"
    client = await node.connect()
    client.write(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * (limit // len(chunk) + 1000))
    assert (await client.message()).status == 413
    client.reset()
    assert upstream.requests == []


@pytest.mark.parametrize("before", [b"", b"5\r\nhello\r\n"], ids=["at once", "after others"])
async def test_a_chunk_that_would_be_too_large_is_refused_by_its_size(
    node: Node, upstream: Upstream, before: bytes
) -> None:
    """R-84, R-103: when its size is read, and not when its bytes have come; what counts is the sum."""
    limit = node.settings.limits.body_bytes
    size = b"%x\r\n" % (limit + 1 if not before else limit - 4)
    await refused(node, upstream, POST + b"Transfer-Encoding: chunked\r\n\r\n" + before + size, 413, "body_too_large")


async def test_a_chunk_of_any_declared_size_is_refused(node: Node, upstream: Upstream) -> None:
    """R-84: as many digits as a size may have."""
    raw = POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 16 + b"\r\n"
    await refused(node, upstream, raw, 413, "body_too_large")


async def test_chunks_that_add_up_to_the_limit_are_a_body(redis_url: str, upstream: Upstream, tmp_path: Path) -> None:
    """R-103: the bound itself is allowed."""
    configured = nodes.settings(tmp_path, redis_url, upstream.url, limits={"body_bytes": 10})
    async with nodes.running(configured) as node:
        raw = POST + b"Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n4\r\nyou!\r\n0\r\n\r\n"
        assert (await served(node, upstream, raw)).body == b"hello you!"


MALFORMED = {
    "bare line feeds": b"GET /open HTTP/1.1\nHost: shop.example\n\n",
    "a bare line feed after the request line": b"GET /open HTTP/1.1\nHost: shop.example\r\n\r\n",
    "a bare line feed after a field": b"GET /open HTTP/1.1\r\nHost: shop.example\nA: b\r\n\r\n",
    "a bare carriage return in a field": b"GET /open HTTP/1.1\r\n" + HOST + b"A: b\rC: d\r\n\r\n",
    "NUL in a value": b"GET /open HTTP/1.1\r\n" + HOST + b"A: b\0c\r\n\r\n",
    "a control character in a value": b"GET /open HTTP/1.1\r\n" + HOST + b"A: b\x01c\r\n\r\n",
    "delete in a value": b"GET /open HTTP/1.1\r\n" + HOST + b"A: b\x7fc\r\n\r\n",
    "a folded line": b"GET /open HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n",
    "a line folded with a tab": b"GET /open HTTP/1.1\r\n" + HOST + b"A: b\r\n\tc\r\n\r\n",
    "white space before the first field": b"GET /open HTTP/1.1\r\n Host: shop.example\r\n\r\n",
    "a blank before the colon": b"GET /open HTTP/1.1\r\n" + HOST + b"Content-Length : 0\r\n\r\n",
    "a tab before the colon": b"GET /open HTTP/1.1\r\n" + HOST + b"Content-Length\t: 0\r\n\r\n",
    "an empty name": b"GET /open HTTP/1.1\r\n" + HOST + b": b\r\n\r\n",
    "no colon": b"GET /open HTTP/1.1\r\n" + HOST + b"field\r\n\r\n",
    "a name that is no token": b"GET /open HTTP/1.1\r\n" + HOST + b"a(b): c\r\n\r\n",
    "a name beyond ASCII": b"GET /open HTTP/1.1\r\n" + HOST + b"\xc3\xa9: c\r\n\r\n",
    "NUL in a name": b"GET /open HTTP/1.1\r\n" + HOST + b"a\0b: c\r\n\r\n",
    "two blanks after the method": b"GET  /open HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab after the method": b"GET\t/open HTTP/1.1\r\n" + HOST + b"\r\n",
    "a blank in the target": b"GET /op en HTTP/1.1\r\n" + HOST + b"\r\n",
    "a blank before the method": b" GET /open HTTP/1.1\r\n" + HOST + b"\r\n",
    "a blank after the version": b"GET /open HTTP/1.1 \r\n" + HOST + b"\r\n",
    "a method that is no token": b"GE@T /open HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /open\r\n\r\n",
    "lower-case version": b"GET /open http/1.1\r\n" + HOST + b"\r\n",
    "a version with more digits": b"GET /open HTTP/1.10\r\n" + HOST + b"\r\n",
    "no version": b"GET /open HTTP\r\n" + HOST + b"\r\n",
    "two empty lines before the request": b"\r\n\r\nGET /open HTTP/1.1\r\n" + HOST + b"\r\n",
    "the end of the stream in a head": b"GET /open HTTP/1.1\r\nHost: sh",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
async def test_a_head_that_is_not_http_to_the_letter_is_refused(node: Node, upstream: Upstream, raw: bytes) -> None:
    """R-85, R-86."""
    client = await node.connect()
    await client.send(raw)
    client.end()
    answer = await client.message()
    assert answer.status == 400
    assert await client.rest() == b""
    client.close()
    await refused(node, upstream, raw if raw.endswith(b"\n") else raw + b"\r\n\n", 400)


@pytest.mark.parametrize("version", [b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.0"])
async def test_another_version_is_refused(node: Node, upstream: Upstream, version: bytes) -> None:
    """R-86."""
    await refused(node, upstream, b"GET /open " + version + b"\r\n" + HOST + b"\r\n", 505, "unknown_version")


async def test_the_preface_of_http_2_is_refused(node: Node, upstream: Upstream) -> None:
    """R-86."""
    await refused(node, upstream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)


async def test_one_empty_line_before_a_request_is_overlooked(node: Node, upstream: Upstream) -> None:
    """RFC 9112 section 2.2."""
    request = await served(node, upstream, b"\r\nGET /open HTTP/1.1\r\n" + HOST + b"\r\n")
    assert request.line == "GET /open HTTP/1.1"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
async def test_a_body_where_none_is_usual_is_forwarded_as_a_body(node: Node, upstream: Upstream, method: bytes) -> None:
    """R-90: never left in the buffer as a next request."""
    client = await node.connect()
    raw = method + b" /open/x HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED
    await client.send(raw)
    assert (await client.message(body=method != b"HEAD")).status == 200
    client.end()
    assert await client.rest() == b""
    client.close()
    (request,) = upstream.requests
    assert request.body == SMUGGLED


async def test_what_goes_to_the_service_is_serialised_anew(node: Node, upstream: Upstream) -> None:
    """R-87: no byte of the client's head is copied through unparsed."""
    raw = b"POST /open?a=b HTTP/1.1\r\nHOST:   Shop.Example  \r\nx-thing:\t one \t\r\ncontent-length:\t02 \r\n\r\nhi"
    request = await served(node, upstream, raw)
    assert request.line == "POST /open?a=b HTTP/1.1"
    assert request.value("x-thing") == "one"
    assert b"x-thing: one\r\n" in request.head
    assert request.value("content-length") == "2"
    assert request.value("x-forwarded-host") == "shop.example"
    assert request.body == b"hi"
