"""A repeated head is recognised by its bytes, and means the same as when first read (R-70, R-80, R-83, R-100)."""

from __future__ import annotations

from itertools import product

import pytest

from lockgate.edge.head import Peer, RequestHeadReader
from lockgate.edge.request import InboundRequest
from lockgate.edge.wire import WireError
from lockgate.errors import Reason
from lockgate.settings import LimitSettings, ServerSettings

LINES = (
    b"GET /orders/1?a=b HTTP/1.1",
    b"GET /orders/1 HTTP/1.0",
    b"POST /orders/%6Fne HTTP/1.1",
    b"GET http://shop.example/x HTTP/1.1",
    b"HEAD /orders HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
)
BLOCKS = (
    b"Host: shop.example\r\n",
    b"Host: other.example\r\n",
    b"Host: SHOP.example:8080\r\nConnection: keep-alive\r\n",
    b"Host: shop.example\r\nTransfer-Encoding: chunked\r\n",
    b"Host: shop.example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n",
    b"Host: shop.example\r\nAuthorization: Bearer a.b.c\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n",
    b"Host: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Host: nowhere.example\r\n",
)
SERVER = ServerSettings.model_validate(
    {"allowed_hosts": ["shop.example", "other.example"], "trusted_proxies": ["127.0.0.9/32"]}
)
PEERS = (Peer("127.0.0.1", trusted=False), Peer("127.0.0.9", trusted=True))


def outcome(reader: RequestHeadReader, head: bytes, peer: Peer) -> InboundRequest | Reason:
    """What one head means to a reader, however it finds out; each request has an id of its own."""
    try:
        found = reader.parse_repeated(head, peer) or reader.parse_head(head[: reader.find_head_end(head)], peer)
    except WireError as error:
        return error.reason
    return found._replace(request_id="", own_id="")


@pytest.mark.parametrize("peer", PEERS)
def test_halves_that_were_read_before_mean_together_what_they_mean_to_somebody_who_never_saw_them(peer: Peer) -> None:
    warm = RequestHeadReader(SERVER, LimitSettings())
    pairs = list(product(LINES, BLOCKS))
    for line, block in [*pairs, *reversed(pairs)]:
        head = b"%b\r\n%b\r\n" % (line, block)
        assert outcome(warm, head, peer) == outcome(RequestHeadReader(SERVER, LimitSettings()), head, peer), head
    recognized = [pair for pair in pairs if is_recognized(warm, b"%b\r\n%b\r\n" % pair, peer)]
    assert len(recognized) > len(pairs) / 2  # or nothing was shown


def is_recognized(reader: RequestHeadReader, head: bytes, peer: Peer) -> bool:
    try:
        return reader.parse_repeated(head, peer) is not None
    except WireError:
        return True


@pytest.mark.parametrize("more", [b"", b"x", b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"])
def test_only_bytes_that_are_one_head_and_nothing_else_are_recognised(more: bytes) -> None:
    reader, head = RequestHeadReader(SERVER, LimitSettings()), LINES[0] + b"\r\n" + BLOCKS[0] + b"\r\n"
    assert reader.parse_repeated(head + more, PEERS[0]) is None
    reader.parse_head(head, PEERS[0])
    assert (reader.parse_repeated(head + more, PEERS[0]) is not None) == (not more)
    assert reader.parse_repeated(head[:-1], PEERS[0]) is None
    assert reader.parse_repeated(b"\r\n" + head, PEERS[0]) is None


def test_two_halves_that_are_small_enough_may_be_too_large_together() -> None:
    """R-100."""
    line, block = b"GET /%b HTTP/1.1" % (b"a" * 400), b"Host: shop.example\r\nA: %b\r\n" % (b"b" * 400)
    reader = RequestHeadReader(SERVER, LimitSettings(head_bytes=700))
    for head in (line + b"\r\n" + BLOCKS[0] + b"\r\n", LINES[0] + b"\r\n" + block + b"\r\n"):
        reader.parse_head(head[: reader.find_head_end(head)], PEERS[0])
    assert outcome(reader, line + b"\r\n" + block + b"\r\n", PEERS[0]) is Reason.HEAD_TOO_LARGE


def test_what_is_remembered_is_bounded() -> None:
    """R-12 by analogy: a client with heads that never repeat takes no more memory than the bound."""
    reader = RequestHeadReader(SERVER, LimitSettings())
    for number in range(3000):
        head = b"GET /%d HTTP/1.1\r\nHost: shop.example\r\n\r\n" % number
        reader.parse_head(head, PEERS[0])
    assert reader.parse_repeated(b"GET /0 HTTP/1.1\r\nHost: shop.example\r\n\r\n", PEERS[0]) is None
    assert reader.parse_repeated(b"GET /2999 HTTP/1.1\r\nHost: shop.example\r\n\r\n", PEERS[0]) is not None
