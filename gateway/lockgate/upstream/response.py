"""Parses a service's response as strictly as a client's request, and keeps the fields that the client may see."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple, Protocol

from lockgate.edge import wire
from lockgate.edge.cookies import sets_own_cookie
from lockgate.edge.headers import HOP_BY_HOP, NOTHING_HIDDEN, fold_name, is_for_services
from lockgate.edge.wire import END_OF_HEAD, ChunkedReader, Field, WireError
from lockgate.errors import Reason
from lockgate.setting_values import CREDENTIAL_FIELDS
from lockgate.upstream.own_addresses import ADDRESS_FIELDS, NO_ADDRESSES, OwnAddresses

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 200
MAX_INTERIM: Final = 10
MEMO_ENTRIES: Final = 512
MEMO_BYTES: Final = 2048
_NOT_FOR_CLIENTS: Final = HOP_BY_HOP | {b"content-length", b"server", b"x-powered-by", b"x-request-id"}
_CORS: Final = b"access-control-"
_EXPOSE: Final = b"access-control-expose-headers"
_NO_CONTENT: Final = 204
_UNAUTHORIZED: Final = 401
_NO_BODY: Final = frozenset({_NO_CONTENT, 304})


class ResponseHead(NamedTuple):
    """The head of a response.

    Attributes:
        status: the status code, from 200 on.
        lines: status line and the fields that the client may see, each ended by CRLF; without framing.
        dated: the fields include a Date.
        content_length: the declared length; `None` where the service declared none.
        chunked: the body is chunked.
        reusable: the service keeps the connection open after this response.
        event_stream: the body is an event stream, which has no planned end.
        length_line: Content-Length for the client, ended by CRLF; empty without a length.
        expected: bytes of body that follow, for any method but HEAD; -1 where the head does not say.
        exposed: the field line with the names that the service exposes to listed pages; empty without such names.
        addressed: the fields with addresses, as the service sent them; they are in `lines` with own addresses mapped.
    """

    status: int
    lines: bytes
    dated: bool
    content_length: int | None
    chunked: bool
    reusable: bool
    event_stream: bool
    length_line: bytes
    expected: int
    exposed: str = ""
    addressed: tuple[Field, ...] = ()

    def has_body(self, method: str) -> bool:
        """Whether a body follows (RFC 9112 section 6.3)."""
        return method != "HEAD" and self.status not in _NO_BODY and self.content_length != 0


class ResponseHeadReader:
    """Parses the heads of responses. Each upstream address of a worker has a parser.

    Micro-optimisation: parsed heads are kept in a memo by their bytes, so a head that was seen before takes 0.1 µs
    instead of 12 µs (`docs/decisions/0002`).

    Args:
        own: the addresses that the client must not see.
        hidden: names, as `fold_name` makes them, in which routes name a user to their services.
    """

    def __init__(self, own: OwnAddresses = NO_ADDRESSES, hidden: frozenset[bytes] = NOTHING_HIDDEN) -> None:
        self._own = own
        self.hidden = hidden
        self._memo: OrderedDict[bytes, ResponseHead] = OrderedDict()

    def parse_head(self, head: bytes) -> ResponseHead:
        """Parse a head, including its empty line.

        Raises:
            WireError: the head is not acceptable.
        """
        found = self._memo.get(head)
        if found is None:
            found = parse_response_head(head, self._own, self.hidden)
            if len(head) <= MEMO_BYTES:
                if len(self._memo) >= MEMO_ENTRIES:
                    self._memo.popitem(last=False)
                self._memo[head] = found
        return found

    def cached_head(self, head: bytes) -> ResponseHead | None:
        """The parsed head from the memo, if any."""
        return self._memo.get(head)


def parse_response_head(
    head: bytes, own: OwnAddresses = NO_ADDRESSES, hidden: frozenset[bytes] = NOTHING_HIDDEN
) -> ResponseHead:
    """Parse a head, including its empty line. In its fields, `own` addresses become paths; `hidden` ones are left out.

    Raises:
        WireError: the head is not acceptable; `LINK_REFUSED` where the service refuses the gateway's signature.
    """
    line, _, block = head[:-2].partition(b"\r\n")
    status, http11 = wire.parse_status_line(line)
    found = wire.split_field_lines(block, max_fields=MAX_FIELDS, max_field_bytes=MAX_HEAD_BYTES)
    lengths = [value for name, value in found if name == b"content-length"]
    codings = [value for name, value in found if name == b"transfer-encoding"]
    length, chunked = wire.parse_content_length(lengths), wire.is_chunked(codings)
    if chunked and (length is not None or not http11):
        raise WireError(Reason.AMBIGUOUS_FRAMING)
    options = {
        option.strip(b" \t").lower() for name, value in found if name == b"connection" for option in value.split(b",")
    }
    if status == _UNAUTHORIZED and any(
        name == b"www-authenticate" and value.lower().startswith(b"signature") for name, value in found
    ):
        # The service refused the gateway, not the client. Forwarded, the 401 would look like an expired login.
        raise WireError(Reason.LINK_REFUSED)
    shown = [
        field
        for field in found
        if field[0] not in _NOT_FOR_CLIENTS and field[0] not in options and not _is_gateway_only(*field, hidden)
    ]
    addressed = tuple(field for field in shown if field[0] in ADDRESS_FIELDS)
    visible = b"".join(
        b"%b: %b\r\n" % (field if field[0] not in ADDRESS_FIELDS else (field[0], own.map_field(*field)))
        for field in shown
    )
    # An interim response has no body, and a 204 must not declare one.
    counted = length if status >= 200 and status != _NO_CONTENT else None  # noqa: PLR2004
    return ResponseHead(
        status=status,
        # The client gets the blank after the code even where the service omitted blank and phrase.
        lines=b"HTTP/1.1 %d %b\r\n%b" % (status, line[13:], visible),
        dated=any(name == b"date" for name, _ in found),
        content_length=length,
        chunked=chunked,
        # A service that declares a body for a 204 may also send it.
        reusable=http11 and b"close" not in options and not (status == _NO_CONTENT and (chunked or length)),
        event_stream=any(
            name == b"content-type" and value.lower().startswith(b"text/event-stream") for name, value in found
        ),
        length_line=b"" if counted is None else b"Content-Length: %d\r\n" % counted,
        expected=-1 if counted is None or status in _NO_BODY else counted,
        exposed=_exposed_line(found, hidden),
        addressed=addressed,
    )


def map_addresses(head: ResponseHead, own: OwnAddresses) -> ResponseHead:
    """A head with its addresses mapped by `own` instead of by the parser's."""
    if not head.addressed:
        return head
    kept = [line for line in head.lines.split(b"\r\n")[:-1] if line.partition(b":")[0] not in ADDRESS_FIELDS]
    mapped = [b"%b: %b" % (name, own.map_field(name, value)) for name, value in head.addressed]
    return head._replace(lines=b"".join(b"%b\r\n" % line for line in (*kept, *mapped)))


def _is_gateway_only(name: bytes, value: bytes, hidden: frozenset[bytes]) -> bool:
    """Whether only the gateway may send this field to a client: identity, CORS, the gateway's own cookie."""
    if name.startswith(_CORS) or is_for_services(name) or (hidden and fold_name(name) in hidden):
        return True
    return name == b"set-cookie" and sets_own_cookie(value)


def _exposed_line(found: list[Field], hidden: frozenset[bytes]) -> str:
    """The service's own Access-Control-Expose-Headers without credential and identity fields.

    `*` becomes the list of fields that the service sent: with credentials, browsers read `*` as the name of a field.
    """
    named = [one.strip(b" \t").lower() for name, value in found if name == _EXPOSE for one in value.split(b",")]
    if b"*" in named:
        named += [name for name, _ in found if not name.startswith(_CORS)]
    names = [one.decode("ascii") for one in dict.fromkeys(named) if wire.is_token(one) and _is_for_pages(one, hidden)]
    return f"Access-Control-Expose-Headers: {', '.join(names)}\r\n" if names else ""


def _is_for_pages(name: bytes, hidden: frozenset[bytes]) -> bool:
    if name == b"*" or name.decode("ascii") in CREDENTIAL_FIELDS:
        return False
    return not is_for_services(name) and fold_name(name) not in hidden


class ResponseSink(Protocol):
    """Receives the parts of a response: begins, continues any number of times, ends; or all in a single call."""

    def response_begins(self, head: ResponseHead) -> None:
        """The head was read."""

    def response_continues(self, data: bytes) -> None:
        """A piece of the body was read."""

    def response_ends(self) -> None:
        """The response is complete."""

    def whole_response(self, head: ResponseHead, body: bytes) -> None:
        """The whole response has come in a single piece, as most responses do."""


class ResponseReader:
    """Parses the bytes of successive responses, and hands arriving parts to a sink.

    Attributes:
        silent: no byte of the response has come.
        begun: a final head was read.
        finished: the response is complete.
        reusable: the connection may carry another request; known when finished.
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_heads",
        "_interim",
        "_left",
        "_method",
        "_sink",
        "begun",
        "finished",
        "reusable",
        "silent",
    )

    def __init__(self, heads: ResponseHeadReader) -> None:
        self._heads = heads
        self.silent = True
        self.begun = False
        self.finished = False

    def expect_response(self, method: str, sink: ResponseSink) -> None:
        """Prepare for the next response.

        Args:
            method: the method of the request; a response to HEAD has no body, although its fields may declare a length.
            sink: receives the parts.
        """
        self._method = method
        self._sink = sink
        self.silent = True
        self.begun = False
        self.finished = False

    def feed(self, data: bytes) -> None:
        """Parse further bytes.

        Raises:
            WireError: no acceptable response; the connection cannot be used again.
        """
        if self.silent:
            self.silent = False
            end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
            head = self._heads.cached_head(data[:end])
            if head is not None and head.expected == len(data) - end and self._method != "HEAD":
                self.begun = self.finished = True
                self.reusable = head.reusable
                self._sink.whole_response(head, data[end:])
                return
            self._buffer = b""
            self._chunks: ChunkedReader | None = None
            self._left: int | None = None
            self._interim = 0
        if not self.begun:
            data = self._read_head(self._buffer + data if self._buffer else data)
        if data and self.begun:
            if self.finished:
                raise WireError(Reason.UPSTREAM_BROKE)  # bytes that belong to no response
            self._read_body(data)

    def end_of_stream(self) -> None:
        """The service closed the connection.

        Raises:
            WireError: the response is incomplete.
        """
        if self.begun and not self.finished and self._left is None and self._chunks is None:
            self._finish_response()  # without a length, the end of the stream is the end of the body
        elif not self.finished:
            raise WireError(Reason.UPSTREAM_BROKE)

    def _read_head(self, data: bytes) -> bytes:
        while True:
            end = data.find(END_OF_HEAD)
            if end < 0 or end > MAX_HEAD_BYTES:
                if len(data) > MAX_HEAD_BYTES or wire.has_stray_line_end(data):
                    raise WireError(Reason.UPSTREAM_BROKE)
                self._buffer = data
                return b""
            end += len(END_OF_HEAD)
            head, data = self._heads.parse_head(data[:end]), data[end:]
            if head.status >= 200:  # noqa: PLR2004 - 1xx are interim responses
                break
            self._interim += 1
            if head.status == 101 or self._interim > MAX_INTERIM:  # noqa: PLR2004 - the gateway asked for no upgrade
                raise WireError(Reason.UPSTREAM_BROKE)
        self.begun = True
        self._buffer = b""
        self.reusable = head.reusable
        self._sink.response_begins(head)
        if not head.has_body(self._method):
            self._finish_response()
        elif head.chunked:
            self._chunks = ChunkedReader()
        else:
            self._left = head.content_length
            self.reusable = self.reusable and self._left is not None
        return data

    def _read_body(self, data: bytes) -> None:
        if self._chunks is not None:
            piece, rest = self._chunks.feed(data)
            if piece:
                self._sink.response_continues(piece)
            if self._chunks.finished:
                self.reusable = self.reusable and not rest
                self._finish_response()
            return
        if self._left is not None:
            if len(data) > self._left:
                self.reusable = False  # more than declared: the client gets the declared bytes, the rest is dropped
                data = data[: self._left]
            self._left -= len(data)
        self._sink.response_continues(data)
        if self._left == 0:
            self._finish_response()

    def _finish_response(self) -> None:
        self.finished = True
        self._sink.response_ends()
