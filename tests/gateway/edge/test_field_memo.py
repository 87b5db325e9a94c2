"""A block is recognised without the lines that are new in each request, and means what a fresh reader says (R-249)."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.edge.field_memo import VARYING
from lockgate.edge.head import RequestHeadReader
from lockgate.edge.headers import is_forwardable
from lockgate.settings import AddressField, LimitSettings, ServerSettings
from tests.support.heads import PEERS, held_bytes, outcome

LINE = b"GET /orders HTTP/1.1"
BEFORE = b"Host: shop.example\r\nX-Kept: Cookie: a=b\r\n"
AFTER = b"Accept: */*\r\nX-Forwarded-Proto: https\r\n"
TRACE = b"00-%b-00f067aa0ba902b7-01"
LINES = {
    b"Cookie": (b"theme=dark; __Host-lockgate=alice", b"__Host-lockgate=bob"),
    b"cookie": (b"theme=dark", b"a=1; lockgate-localhost=bob; c=2"),
    b"Forwarded": (b"for=192.0.2.1;proto=https", b'for="[2001:db8::1]"'),
    b"X-Forwarded-For": (b"192.0.2.1", b"198.51.100.7, 127.0.0.9"),
    b"x-forwarded-for": (b"192.0.2.1", b"not an address"),
    b"X-Real-IP": (b"192.0.2.1", b"198.51.100.7"),
    b"X-Real-Ip": (b"192.0.2.1", b"2001:db8::1"),
    b"x-envoy-external-address": (b"192.0.2.1", b"198.51.100.7"),
    b"X-Request-ID": (b"alice-1", b"bob-2"),
    b"x-request-id": (b"alice-1", b"not, an id"),
    b"Traceparent": (TRACE % (b"a" * 32), b"00-0-0-01"),
    b"traceparent": (TRACE % (b"a" * 32), TRACE % (b"b" * 32)),
    b"tracestate": (b"vendor=alice", b"vendor=bob,other=x"),
}
"""Lines that are cut out, each with the values of two requests."""
FIELD_BYTES = 512
CARRIERS: tuple[AddressField, ...] = ("x-forwarded-for", "forwarded", "x-real-ip", "x-envoy-external-address")


def reader_of(carrier: AddressField = "x-forwarded-for") -> RequestHeadReader:
    server = {"trusted_proxies": ["127.0.0.9/32"], "forwarded_from": carrier}
    limits = LimitSettings(field_bytes=FIELD_BYTES, head_bytes=8192)
    return RequestHeadReader(ServerSettings.model_validate(server), limits)


def head_of(*lines: bytes, before: bytes = BEFORE, after: bytes = AFTER) -> bytes:
    return b"%b\r\n%b%b%b\r\n" % (LINE, before, b"".join(lines), after)


def line_of(name: bytes, value: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, value)


def check_head(warm: RequestHeadReader, head: bytes, carrier: AddressField = "x-forwarded-for") -> None:
    """What a head means to a reader is what it means to one that never read another head."""
    for peer in PEERS:
        assert outcome(warm, head, peer) == outcome(reader_of(carrier), head, peer), head


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", LINES)
def test_requests_that_differ_in_one_line_share_a_block(name: bytes, carrier: AddressField) -> None:
    """R-249."""
    first, second = (head_of(line_of(name, value)) for value in LINES[name])
    reader = reader_of(carrier)
    reader.parse_head(first, PEERS[0])
    assert reader.parse_repeated(second, PEERS[1]) is not None
    for head in (second, first, second):
        check_head(reader, head, carrier)


def test_what_a_proxy_writes_anew_is_read_from_its_own_request() -> None:
    lines = (b"X-Request-ID", b"X-Forwarded-For", b"traceparent", b"Cookie")
    reader, trusted = reader_of(), PEERS[1]
    reader.parse_head(head_of(*(line_of(name, LINES[name][0]) for name in lines)), trusted)
    request = reader.parse_repeated(head_of(*(line_of(name, LINES[name][1]) for name in lines)), trusted)
    assert request is not None
    assert (request.request_id, request.client, request.trace_parent) == (
        *("bob-2", "198.51.100.7"),
        (TRACE % (b"b" * 32)).decode(),
    )
    assert request.headers.session_cookies == ((b"__Host-lockgate", b"bob"),)
    assert request.headers.forwardable == "x-kept: Cookie: a=b\r\naccept: */*\r\n"


def test_an_unlisted_peer_gives_neither_address_nor_id_to_a_known_block() -> None:
    lines = (b"X-Request-ID", b"X-Forwarded-For", b"traceparent")
    reader, unlisted = reader_of(), PEERS[0]
    reader.parse_head(head_of(*(line_of(name, LINES[name][0]) for name in lines)), PEERS[1])
    request = reader.parse_repeated(head_of(*(line_of(name, LINES[name][1]) for name in lines)), unlisted)
    assert request is not None
    assert (request.client, request.request_id, request.trace) == (unlisted.address, request.own_id, None)


ODD_LINES = (
    *(b"%b: \r\n", b"%b:\r\n", b"%b:a\r\n", b"%b:  a\r\n", b"%b: a \r\n", b"%b: a\t\r\n", b"%b:\ta\r\n", b"%b : a\r\n"),
    *(b"%b: a\x00\r\n", b"%b: a\x7f\r\n", b"%b: a\xff\r\n", b"%b: a\tb\r\n", b"%b: a\rb\r\n", b"%b: a\nHost: b\r\n"),
    *(b"%b: a\r\n b\r\n", b"%b: a\r\n\r\n", b" %b: a\r\n", b"%b\r\n", b"%b: a\r\nContent-Length: 3\r\n"),
    *(b"%b: a\r\nHost: other.example\r\n", b"Connection: %b\r\n", b"X-%b: a\r\n", b"X_%b: a\r\n"),
)


@pytest.mark.parametrize("odd", ODD_LINES)
@pytest.mark.parametrize("name", LINES)
def test_a_known_block_with_an_odd_line_means_what_a_fresh_reader_says(name: bytes, odd: bytes) -> None:
    """R-249."""
    reader, good = reader_of(), line_of(name, LINES[name][0])
    reader.parse_head(head_of(good), PEERS[0])
    line = odd % name if b"%b" in odd else odd
    for lines in ([line], [line.upper()], [good, line], [line, good], [good, good], [line, line]):
        for _ in range(2):
            check_head(reader, head_of(*lines))
            check_head(reader, b"%b\r\n%b%b\r\n" % (LINE, b"".join(lines), BEFORE))


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("name", LINES)
def test_a_value_that_is_cut_out_has_the_bound_of_its_line(name: bytes, more: int) -> None:
    reader = reader_of()
    reader.parse_head(head_of(line_of(name, LINES[name][0])), PEERS[0])
    value = b"v" * (FIELD_BYTES - len(name) - len(b": ") + more)
    check_head(reader, head_of(line_of(name, value)))


VALUES = st.sampled_from([value for values in LINES.values() for value in values])
DRAWN = st.one_of(
    st.builds(line_of, st.sampled_from(list(LINES)), VALUES),
    st.builds(lambda name, odd: odd % name, st.sampled_from(list(LINES)), st.sampled_from(ODD_LINES)),
    st.builds(line_of, st.sampled_from([b"Authorization", b"X-Cookie", b"COOKIE", b"Connection"]), VALUES),
)


@given(heads=st.lists(st.lists(DRAWN, max_size=4), min_size=1, max_size=5), carrier=st.sampled_from(CARRIERS))
def test_no_request_gets_a_value_of_an_earlier_one(heads: list[list[bytes]], carrier: AddressField) -> None:
    """R-249."""
    reader = reader_of(carrier)
    for lines in (*heads, *heads):
        check_head(reader, head_of(*lines), carrier)
        check_head(reader, head_of(*lines, before=AFTER, after=BEFORE), carrier)


@given(
    names=st.lists(st.sampled_from(list(LINES)), min_size=1, max_size=5, unique_by=bytes.lower),
    other=st.lists(
        st.sampled_from([b"A: b\r\n", b"A: b\r\n", b"TE: x\r\n", b"Connection: x-y\r\n", b"X-Y: z\r\n"]), max_size=5
    ),
)
def test_two_requests_with_one_block_are_kept_apart(names: list[bytes], other: list[bytes]) -> None:
    """R-249: the lines that an upstream sees are the same, to the byte, whichever of the two was read first."""
    reader = reader_of()
    heads = [head_of(*other, *(line_of(name, LINES[name][at]) for name in names), *other) for at in (0, 1)]
    reader.parse_head(heads[0], PEERS[0])
    assert reader.parse_repeated(heads[1], PEERS[0]) is not None
    for head, peer in product([*heads, *heads], PEERS):
        found = reader.parse_repeated(head, peer)
        assert found is not None
        fresh = reader_of().parse_head(head, peer)
        assert found.headers == fresh.headers
        assert found.headers.forwardable.encode("latin-1") == fresh.headers.forwardable.encode("latin-1")


SECRET = b"secret7"
LEAKS = (
    *(line_of(name, SECRET) for name in LINES),
    *(line_of(name.upper(), SECRET) for name in LINES),
    *(b"%b:%b \r\n" % (name, SECRET) for name in LINES),
    *(line_of(name, b"a=%b" % SECRET) + line_of(name.upper(), b"b=%b" % SECRET) for name in LINES),
    *(line_of(name, b"\xff" + SECRET) for name in LINES),
    line_of(b"Cookie", b"__Host-lockgate=%b; a=%b" % (SECRET, SECRET)),
)


@pytest.mark.parametrize("lines", LEAKS)
def test_no_value_is_remembered(lines: bytes) -> None:
    """R-249: also where the line is in another spelling, or there twice."""
    reader = reader_of()
    for peer in (*PEERS, *PEERS):
        outcome(reader, head_of(lines), peer)
    assert not any(SECRET in found for found in held_bytes(reader))


def test_of_the_fields_that_are_cut_out_an_upstream_sees_the_cookie_alone() -> None:
    """The facts of a known block get their forwardable cookie again, and no other line."""
    assert [name for name in VARYING if is_forwardable(name)] == [b"cookie"]


def test_the_memory_of_blocks_without_their_values_is_bounded() -> None:
    """R-12 by analogy."""
    reader, large = reader_of(), b"p" * 400

    def head(number: int) -> bytes:
        return head_of(line_of(b"X-Page", b"%d%b" % (number, large)), before=b"Cookie: a\r\n", after=b"Host: a\r\n")

    for number in range(8000):
        reader.parse_head(head(number), PEERS[0])
    assert reader.parse_repeated(head(0), PEERS[0]) is None
    assert reader.parse_repeated(head(7999), PEERS[0]) is not None
