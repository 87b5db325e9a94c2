"""Properties of all bytes, and not only of chosen examples: R-50, R-70, R-71, R-84, R-109."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from time import thread_time
from urllib.parse import unquote_to_bytes

import h11
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lockgate.edge import wire
from lockgate.edge.client_address import ForwardedReader
from lockgate.edge.head import Peer, RequestHeadReader
from lockgate.edge.headers import examine_fields, is_forwardable
from lockgate.edge.path import canonical_path, parse_target
from lockgate.edge.request import InboundRequest
from lockgate.edge.wire import ChunkedReader, LengthReader, WireError
from lockgate.errors import Reason
from lockgate.settings import LimitSettings, ServerSettings
from lockgate_trust import IDENTITY_HEADERS

LIMITS = LimitSettings()
PEER = Peer("127.0.0.1", trusted=False)
ALPHABET = [bytes([octet]) for octet in b"/.;%25eEfFcC0a?#\\\x00\xc3\xa9 ~"] + [
    b"%2e",
    b"%2F",
    b"%25",
    b"/..",
    b"%c3%a9",
    b"//",
]
WIRE_BITS = [
    *(b"GET", b"POST", b" ", b"/", b"/open", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"Host: a"),
    *(b"A: b", b"Content-Length: 3", b"Transfer-Encoding: chunked", b":", b"\t", b"\0", b"x", b"Connection: close"),
]
RAW = st.lists(st.sampled_from(WIRE_BITS) | st.binary(max_size=3), max_size=20).map(b"".join)
HEAD = st.builds(
    lambda fields, rest: b"GET /open HTTP/1.1\r\nHost: a\r\n" + b"".join(fields) + b"\r\n" + rest,
    st.lists(st.sampled_from([b"A: b\r\n", b"Cookie: c=d\r\n", b"Content-Length: 3\r\n", b"bad\r\n", b" x: y\r\n"])),
    RAW,
)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    points = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(points)]


def read_head(parts: list[bytes]) -> tuple[InboundRequest, bytes] | Reason | None:
    """What a connection makes of bytes that come like this: a request and what follows, a refusal, or nothing yet."""
    reader, data, found = RequestHeadReader(ServerSettings(), LIMITS), b"", None
    for part in parts:
        data += part
        if found is not None:
            continue
        try:
            end = reader.find_head_end(data)
            if end:
                found = reader.parse_head(data[:end], PEER)._replace(request_id="", own_id=""), end
        except WireError as error:
            return error.reason
    return None if found is None else (found[0], data[found[1] :])


@given(raw=RAW | HEAD, cuts=st.lists(st.integers(0, 400), max_size=8))
@example(raw=b"\r\n\r\nGET /open HTTP/1.1\r\nHost: a\r\n\r\n", cuts=[1, 2, 3, 4])
def test_a_head_is_the_same_in_whatever_pieces_it_comes(raw: bytes, cuts: list[int]) -> None:
    """Only which of several faults is named may depend on the pieces, never whether it is a request, or which."""
    whole, pieces = read_head([raw]), read_head(split(raw, cuts))
    if isinstance(whole, tuple) or isinstance(pieces, tuple):
        assert whole == pieces
    elif whole is None:
        assert pieces is None


@given(raw=HEAD)
def test_a_head_that_is_taken_is_the_same_to_another_parser(raw: bytes) -> None:
    found = read_head([raw])
    assume(isinstance(found, tuple))
    assert isinstance(found, tuple)
    request, _ = found
    other = h11.Connection(h11.SERVER)
    other.receive_data(raw)
    event = other.next_event()
    assert isinstance(event, h11.Request)
    assert event.method.decode() == request.method
    assert event.target.decode() == request.target
    assert list(event.headers) == list(request.headers.fields)


CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=6).map(
    lambda pieces: b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
)
MANGLED = st.builds(
    lambda raw, at, new: raw[: at % len(raw)] + new + raw[at % len(raw) + 1 :],
    CHUNKS,
    st.integers(0, 300),
    st.sampled_from([b"", b"\n", b"\r", b"\r\n", b"0", b";x", b" ", b"g", b"\0"]),
)


def read_chunks(parts: list[bytes]) -> tuple[bytes, bytes, bool] | None:
    reader, body, rest = ChunkedReader(), b"", b""
    try:
        for part in parts:
            if reader.finished:
                rest += part
                continue
            piece, rest = reader.feed(part)
            body += piece
    except WireError:
        return None
    return body, rest, reader.finished


@given(raw=CHUNKS | MANGLED, after=RAW, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_chunks_are_the_same_in_whatever_pieces_they_come(raw: bytes, after: bytes, cuts: list[int]) -> None:
    """R-84."""
    raw += after
    assert read_chunks(split(raw, cuts)) == read_chunks([raw])


@given(pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=6), after=RAW, cuts=st.lists(st.integers(0, 400)))
def test_a_chunked_body_is_what_was_put_in(pieces: list[bytes], after: bytes, cuts: list[int]) -> None:
    raw = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nA: b\r\n\r\n"
    assert read_chunks(split(raw + after, cuts)) == (b"".join(pieces), after, True)


@given(body=st.binary(min_size=1, max_size=60), after=RAW, cuts=st.lists(st.integers(0, 100)))
def test_a_body_of_known_length_ends_there(body: bytes, after: bytes, cuts: list[int]) -> None:
    reader, got, rest = LengthReader(len(body)), b"", b""
    for part in split(body + after, cuts):
        if reader.finished:
            rest += part
        else:
            piece, rest = reader.feed(part)
            got += piece
    assert (got, rest) == (body, after)


@given(raw=st.lists(st.sampled_from(ALPHABET), max_size=12).map(lambda parts: b"/" + b"".join(parts)))
@example(raw=b"/%25%32%65%25%32%65/")
@example(raw=b"/..%25253b/")
def test_a_canonical_path_is_one_and_stays_one(raw: bytes) -> None:
    """R-70, R-71: decoded any number of times, the path has no way up and no slash that was not judged as a slash."""
    try:
        path = canonical_path(raw)
    except WireError:
        return
    assert canonical_path(path.encode()) == path
    seen, decoded = set(), path.encode()
    while decoded not in seen:
        seen.add(decoded)
        segments = [segment.partition(b";")[0] for segment in decoded.split(b"?")[0].split(b"#")[0].split(b"/")]
        assert b"." not in segments
        assert b".." not in segments
        assert decoded.count(b"/") + decoded.count(b"%2F") == path.count("/") + path.count("%2F")
        assert not re.search(rb"[\x00-\x1f\x7f\\]", decoded)
        decoded = unquote_to_bytes(decoded)


@given(raw=st.lists(st.sampled_from(ALPHABET), max_size=12).map(b"".join))
def test_the_target_that_is_sent_on_is_judged_the_same_again(raw: bytes) -> None:
    """R-70."""
    try:
        target = parse_target(raw)
    except WireError:
        return
    sent = target.path if target.query is None else f"{target.path}?{target.query}"
    assert parse_target(sent.encode()) == target._replace(authority=None)


SEPARATOR = st.text("-~!#$%&'*+^`|_.", max_size=3)
DISGUISED = st.builds(
    lambda name, separators, suffix, upper: (
        "".join(
            (separators[index % len(separators)] if character == "-" and separators else character)
            for index, character in enumerate(name.upper() if upper else name)
        )
        + suffix
    ),
    st.sampled_from([*IDENTITY_HEADERS, "signature", "signature-input", "content-digest", "x-forwarded-for"]),
    st.lists(SEPARATOR, max_size=4),
    st.sampled_from(["", "-", "--"]),
    st.booleans(),
)


@given(name=DISGUISED, leading=SEPARATOR)
def test_no_disguise_of_a_reserved_name_is_forwarded(name: str, leading: str) -> None:
    """R-50, R-51, R-209: neither to the service nor to what the gateway itself reads."""
    facts, _ = examine_fields(b"Host: a\r\n" + f"{leading}{name}: lie\r\n".encode(), LIMITS)
    assert facts.forwardable == ""
    assert facts.dropped == ("_" in leading + name or "." in leading + name)


FOLDINGS: dict[str, Callable[[str], str]] = {
    "CGI, WSGI, Rack (RFC 3875 section 4.1.18)": lambda name: re.sub(r"-", "_", name.upper()),
    "PHP": lambda name: re.sub(r"[-. ]", "_", name.upper()),
    "Apache, lighttpd": lambda name: re.sub(r"[^A-Z0-9]", "_", name.upper()),
    "runs as one": lambda name: re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_"),
    "letters and digits alone": lambda name: re.sub(r"[^A-Z0-9]", "", name.upper()),
}
SAID_BY_GATEWAYS = (
    *IDENTITY_HEADERS,
    "signature",
    "signature-input",
    "content-digest",
    "remote-user",
    "x-forwarded-for",
)
NEARLY = st.builds(
    lambda parts, joints: "".join(part + joint for part, joint in zip(parts, joints, strict=False)),
    st.sampled_from(SAID_BY_GATEWAYS).map(lambda name: name.split("-")),
    st.lists(st.sampled_from(["-", "--", "", "_", ".", "~", "'", "-x", "s", "X-"]), min_size=4, max_size=4),
)


@given(name=DISGUISED | NEARLY | st.from_regex(r"[Xx][-_.~]?[A-Za-z]{1,5}[-_.~+]?[A-Za-z]{1,5}", fullmatch=True))
@example(name="X-UserId")
@example(name="XUser-Id")
def test_no_field_that_is_forwarded_is_an_identity_to_a_reader_that_folds_names(name: str) -> None:
    """R-50, R-203: a service may see names as its server hands them on."""
    if is_forwardable(name.lower().encode()):
        for server, folded in FOLDINGS.items():
            assert folded(name) not in {folded(said) for said in SAID_BY_GATEWAYS}, server


@given(name=st.from_regex(r"[A-Za-z0-9-]{1,20}", fullmatch=True), value=st.text("ab ,;=\t", max_size=8))
def test_a_field_is_forwarded_unchanged_or_not_at_all(name: str, value: str) -> None:
    """R-87."""
    assume(name.lower() not in {"host", "connection", "content-length", "transfer-encoding", "expect"})
    facts, _ = examine_fields(f"Host: a\r\n{name}:{value}\r\n".encode(), LIMITS)
    expected = f"{name.lower()}: {value.strip()}\r\n" if is_forwardable(name.lower().encode()) else ""
    assert facts.forwardable == expected


def forwarded(value: bytes) -> None:
    limits = LimitSettings(field_bytes=1_000_000, head_bytes=1_000_000)
    ForwardedReader((), "forwarded", host=False).read_origin(
        "127.0.0.1", examine_fields(b"Forwarded:" + value + b"\r\n", limits)[0]
    )


HOSTILE = {
    "a quote that stays open": lambda size: forwarded(b'"' + b'\\"' * (size // 2)),
    "elements": lambda size: forwarded(b'for="[::1]";a=b,' * (size // 16)),
    "parameters": lambda size: forwarded(b'a="b";' * (size // 6)),
    "semicolons": lambda size: forwarded(b"a=b" + b"; " * (size // 2) + b"!"),
    "a target of percent signs": lambda size: canonical_path(b"/" + b"%25" * (size // 3)),
    "a target of nested codings": lambda size: canonical_path(b"/%" + b"25" * (size // 2)),
    "a target of slashes and dots": lambda size: canonical_path(b"/" + b"a./" * (size // 3)),
    "field lines": lambda size: wire.split_field_lines(
        b"a:\r\n" * (size // 4) + b"\x01", max_fields=9, max_field_bytes=9
    ),
    "a field that nearly is one": lambda size: wire.split_field_lines(b"a" * size, max_fields=9, max_field_bytes=9),
    "one-byte chunks": lambda size: ChunkedReader().feed(b"1\r\nx\r\n" * (size // 6)),
    "blanks in a value": lambda size: wire.split_field_lines(
        b"a:" + b" " * size + b"\0", max_fields=9, max_field_bytes=9
    ),
    "line ends": lambda size: wire.has_stray_line_end(b"\r\n" * (size // 2)),
}


@pytest.mark.parametrize("work", HOSTILE.values(), ids=HOSTILE)
def test_no_input_costs_more_than_its_length(work: object) -> None:
    """R-109: twenty times the bytes take about twenty times as long; four hundred times would be quadratic."""
    assert callable(work)

    def cost(size: int) -> float:
        best = float("inf")
        for _ in range(5):
            start = thread_time()
            with suppress(WireError):
                work(size)
            best = min(best, thread_time() - start)
        return best

    assert cost(400_000) < 100 * max(cost(20_000), 1e-5)
