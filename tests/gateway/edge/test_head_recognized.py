"""A repeated head is recognised by its bytes, and means the same as when first read (R-70, R-80, R-83, R-100)."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.edge.head import Peer, RequestHeadReader
from lockgate.edge.wire import WireError
from lockgate.errors import Reason
from lockgate.settings import LimitSettings, ServerSettings
from tests.support.heads import PEERS, held_bytes, outcome

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


ALICE, BOB = b"Bearer alice.alice.alice", b"Bearer bob.bob.bob"
HOST = b"Host: shop.example\r\n"
ODD_VALUES = (
    *(b"", b"Bearer", b"Bearer ", b"Bearer  x", b"Bearer a b", b"bearer x", b"Basic YTpi", b"Bearer a,Bearer b"),
    *(b"Bearer a\x00", b"Bearer a\x7f", b"Bearer a\xff", b"Bearer a\tb", b"Bearer a\rb", b"Bearer a\nX-User-Id: b"),
    *(b"Bearer a ", b"Bearer a\t", b"Bearer a\r\n b", b"Bearer a\r\nAuthorization: Bearer b"),
    b"Bearer " + b"t" * (LimitSettings().field_bytes - len(b"Authorization: Bearer ")),
    b"Bearer " + b"t" * (LimitSettings().field_bytes - len(b"Authorization: Bearer ") + 1),
)
AUTHORIZATIONS = st.one_of(
    st.builds(
        lambda name, colon, value: name + colon + value + b"\r\n",
        st.sampled_from([b"Authorization", b"authorization", b"AUTHORIZATION", b"X-Authorization"]),
        st.sampled_from([b": ", b": ", b":", b":  ", b":\t", b" : "]),
        st.sampled_from([ALICE, BOB, *ODD_VALUES]),
    ),
    st.sampled_from([b"", b"Accept: a: Bearer b\r\n", b"Connection: authorization\r\n"]),
)


def reader_of_alice() -> RequestHeadReader:
    """A reader that has read a head of Alice in each place and spelling."""
    reader = RequestHeadReader(SERVER, LimitSettings(head_bytes=64 * 1024))
    for name in (b"Authorization", b"authorization"):
        line = b"%b: %b\r\n" % (name, ALICE)
        for block in (HOST + line, line + HOST, HOST + line + b"Accept: */*\r\n"):
            reader.parse_head(b"%b\r\n%b\r\n" % (LINES[0], block), PEERS[0])
    return reader


def means_the_same_to_a_fresh_reader(warm: RequestHeadReader, block: bytes) -> bool:
    head, fresh = b"%b\r\n%b\r\n" % (LINES[0], block), RequestHeadReader(SERVER, LimitSettings(head_bytes=64 * 1024))
    return outcome(warm, head, PEERS[0]) == outcome(fresh, head, PEERS[0])


@pytest.mark.parametrize("name", [b"Authorization", b"authorization"])
@pytest.mark.parametrize("value", [ALICE, BOB, *ODD_VALUES])
def test_a_known_block_with_other_credentials_means_what_a_fresh_reader_says(name: bytes, value: bytes) -> None:
    """R-248."""
    line = b"%b: %b\r\n" % (name, value)
    for block in (HOST + line, line + HOST, HOST + line + b"Accept: */*\r\n"):
        assert means_the_same_to_a_fresh_reader(reader_of_alice(), block)


@given(blocks=st.lists(st.lists(AUTHORIZATIONS, max_size=3), min_size=1, max_size=6), after=st.booleans())
def test_no_request_gets_the_credentials_of_an_earlier_one(blocks: list[list[bytes]], after: bool) -> None:  # noqa: FBT001 - drawn
    """R-248."""
    warm = reader_of_alice()
    for lines in (*blocks, *blocks):
        fields = b"".join(lines)
        assert means_the_same_to_a_fresh_reader(warm, fields + HOST if after else HOST + fields)


def head_with(authorization: bytes) -> bytes:
    return b"GET /orders HTTP/1.1\r\nHost: shop.example\r\n%bAccept: */*\r\n\r\n" % authorization


@pytest.mark.parametrize("name", [b"Authorization", b"authorization"])
def test_one_block_stands_for_all_users_of_a_client_program(name: bytes) -> None:
    """R-248."""
    reader = RequestHeadReader(SERVER, LimitSettings())
    reader.parse_head(head_with(b"%b: %b\r\n" % (name, ALICE)), PEERS[0])
    bob = reader.parse_repeated(head_with(b"%b: %b\r\n" % (name, BOB)), PEERS[0])
    assert bob is not None
    assert bob.authorization == (BOB,)
    anonymous = reader.parse_repeated(head_with(b"%b: \r\n" % name), PEERS[0])
    assert anonymous is not None
    assert anonymous.authorization == ()


@pytest.mark.parametrize(
    "line",
    [
        b"Authorization: %b\r\n",
        b"authorization: %b\r\n",
        b"AUTHORIZATION: %b\r\n",
        b"Authorization:%b\r\n",
        b"Authorization:  %b \r\n",
        b"Authorization: x\r\nAuthorization: %b\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: lockgate.token.%b\r\n",
    ],
)
def test_no_token_is_remembered(line: bytes) -> None:
    """R-248: however the token is sent."""
    reader = RequestHeadReader(SERVER, LimitSettings())
    head = head_with(line % ALICE)
    for _ in range(2):
        outcome(reader, head, PEERS[0])
    assert not any(b"alice" in found for found in held_bytes(reader))


def test_what_is_remembered_is_bounded() -> None:
    """R-12 by analogy: a client with heads that never repeat takes no more memory than the bound."""
    reader = RequestHeadReader(SERVER, LimitSettings())
    for number in range(3000):
        head = b"GET /%d HTTP/1.1\r\nHost: shop.example\r\n\r\n" % number
        reader.parse_head(head, PEERS[0])
    assert reader.parse_repeated(b"GET /0 HTTP/1.1\r\nHost: shop.example\r\n\r\n", PEERS[0]) is None
    assert reader.parse_repeated(b"GET /2999 HTTP/1.1\r\nHost: shop.example\r\n\r\n", PEERS[0]) is not None
