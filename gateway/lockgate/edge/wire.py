"""The grammar of HTTP/1.1 messages, parsed strictly (RFC 9112), the same for clients and for services.

Each message has a single accepted spelling. Anything that a lenient parser would repair (bare line feeds, folded lines,
blanks before a colon, several lengths) is refused, because two parsers that repair it differently let a client smuggle
a request past one of them.

`docs/decisions/0002` says why no library does this.
"""

from __future__ import annotations

import re
from math import inf
from typing import Final

from lockgate.errors import Reason

_TOKEN_CHARACTERS = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
_TOKEN = re.compile(rb"[" + _TOKEN_CHARACTERS + rb"]+")
# The longest registered method has 17 letters (IANA: UPDATEREDIRECTREF). The bound keeps log lines short.
_REQUEST_LINE = re.compile(rb"(?!CONNECT )([" + _TOKEN_CHARACTERS + rb"]{1,32}+) ([\x21-\x7e]++) (HTTP/[0-9]\.[0-9])")
_CONNECT_LINE = re.compile(rb"CONNECT [\x21-\x7e]++ HTTP/1\.[01]")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?")
# Possessive quantifiers never backtrack, so the time is linear in the bytes.
_FIELD_LINES = re.compile(rb"(?:[" + _TOKEN_CHARACTERS + rb"]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")

END_OF_HEAD: Final = b"\r\n\r\n"
MAX_CHUNK_LINE: Final = 16 + 256
MAX_TRAILER_BYTES: Final = 4096
MAX_TRAILER_FIELDS: Final = 100

Field = tuple[bytes, bytes]
"""A field's lower-case name, and its value without surrounding blanks."""


class WireError(Exception):
    """The bytes are no acceptable message; `reason` is the refusal's reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


def parse_request_line(line: bytes) -> tuple[bytes, bytes, bool]:
    """Method, request target, and whether the version is HTTP/1.1 (otherwise 1.0).

    Raises:
        WireError: not a request line, another version, or CONNECT. CONNECT asks for a tunnel, and the bytes after it
            are no request, so the connection must end with the refusal (RFC 9931).
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        connect = _CONNECT_LINE.fullmatch(line) is not None
        raise WireError(Reason.METHOD_NOT_ALLOWED if connect else Reason.MALFORMED_REQUEST)
    method, target, version = match.groups()
    if version == b"HTTP/1.1":
        return method, target, True
    if version == b"HTTP/1.0":
        return method, target, False
    raise WireError(Reason.UNKNOWN_VERSION)


def is_head_request(data: bytes) -> bool:
    """Whether bytes that may be no valid request ask for HEAD, so that the response has no body."""
    return data.startswith((b"HEAD ", b"\r\nHEAD "))


def parse_status_line(line: bytes) -> tuple[int, bool]:
    """Status code, and whether the version is HTTP/1.1.

    Raises:
        WireError: not a status line.
    """
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise WireError(Reason.UPSTREAM_BROKE)
    return int(match[2]), match[1] == b"1"


def split_field_lines(block: bytes, *, max_fields: int, max_field_bytes: int) -> list[Field]:
    """Split the field lines of a head.

    Args:
        block: complete lines, each ended by CRLF, without the empty line after them.
        max_fields: how many there may be.
        max_field_bytes: how long each line may be.

    Raises:
        WireError: a line is not `name: value`, holds a control character or is folded; or a bound is exceeded.
    """
    if _FIELD_LINES.fullmatch(block) is None:
        raise WireError(Reason.MALFORMED_HEADER)
    lines = block.split(b"\r\n")
    lines.pop()
    if len(lines) > max_fields:
        raise WireError(Reason.HEAD_TOO_LARGE)
    found = []
    for line in lines:
        if len(line) > max_field_bytes:
            raise WireError(Reason.HEAD_TOO_LARGE)
        name, _, value = line.partition(b":")
        found.append((name.lower(), value.strip(b" \t")))
    return found


def has_stray_line_end(data: bytes) -> bool:
    """Whether the bytes can no longer become a head: a line feed or carriage return that stands alone."""
    pairs = data.count(b"\r\n")
    return data.count(b"\n") != pairs or data.count(b"\r") != pairs + data.endswith(b"\r")


def is_token(value: bytes) -> bool:
    """Whether a value is a token (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(value) is not None


def parse_content_length(values: list[bytes]) -> int | None:
    """The single Content-Length; `None` without such a field (RFC 9112 section 6.3).

    Raises:
        WireError: several fields, even if equal, or a value that is not plain digits.
    """
    if not values:
        return None
    if len(values) > 1 or _LENGTH.fullmatch(values[0]) is None:
        raise WireError(Reason.AMBIGUOUS_FRAMING)
    return int(values[0])


def is_chunked(values: list[bytes]) -> bool:
    """Whether the body is chunked (RFC 9112 section 6.1).

    Raises:
        WireError: Transfer-Encoding is anything other than a single `chunked`.
    """
    if not values:
        return False
    if len(values) == 1 and values[0].lower() == b"chunked":
        return True
    if len(values) == 1 and is_token(values[0]):
        raise WireError(Reason.UNKNOWN_TRANSFER_CODING)
    raise WireError(Reason.AMBIGUOUS_FRAMING)


class LengthReader:
    """Reads a body of known length off the stream.

    Args:
        length: in bytes, more than 0.

    Attributes:
        finished: the whole body was read.
        overhead: always 0, see `ChunkedReader`.
    """

    __slots__ = ("_left", "finished")

    overhead = 0

    def __init__(self, length: int) -> None:
        self._left = length
        self.finished = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Read on.

        Returns:
            The piece of body in the data, and the bytes behind the end of the body, if that has come.
        """
        left = self._left - len(data)
        if left > 0:
            self._left = left
            return data, b""
        piece, rest = data[: self._left], data[self._left :]
        self._left = 0
        self.finished = True
        return piece, rest


class ChunkedReader:
    """Decodes a chunked body (RFC 9112 section 7.1). Extensions and trailer fields are checked and dropped.

    Args:
        limit: the most bytes of body; the announcement of a chunk beyond them is refused.

    Attributes:
        finished: the last chunk and the trailer section were read.
        overhead: bytes so far that were not body. Attack: one-byte chunks make framing most of the traffic.
    """

    __slots__ = (
        "_after_data",
        "_allowed",
        "_in_trailer",
        "_left",
        "_rest",
        "_trailer_bytes",
        "_trailer_fields",
        "finished",
        "overhead",
    )

    def __init__(self, limit: float = inf) -> None:
        self._allowed = limit
        self._rest = b""
        self._left = 0
        self._after_data = False
        self._in_trailer = False
        self._trailer_bytes = 0
        self._trailer_fields = 0
        self.finished = False
        self.overhead = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Read on.

        Returns:
            The body in the data, and the bytes behind the end of the body, if that has come.

        Raises:
            WireError: the bytes are not chunks, or announce more than the limit.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        pieces: list[bytes] = []
        size, at = len(data), 0
        while at < size and not self.finished:
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                pieces.append(piece)
                self._after_data = self._left == 0
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._check_unfinished_line(data[at:])
                self._rest = data[at:]
                break
            self._read_line(data[at:end])
            self.overhead += end + 2 - at
            at = end + 2
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return body, data[at:] if self.finished else b""

    def _read_line(self, line: bytes) -> None:
        if self._after_data:
            if line:
                raise WireError(Reason.MALFORMED_REQUEST)
            self._after_data = False
        elif self._in_trailer:
            self._read_trailer_line(line)
        else:
            match = _CHUNK_LINE.fullmatch(line) if len(line) <= MAX_CHUNK_LINE else None
            if match is None:
                raise WireError(Reason.MALFORMED_REQUEST)
            self._left = int(match[1], 16)
            self._in_trailer = self._left == 0
            self._allowed -= self._left
            if self._allowed < 0:
                raise WireError(Reason.BODY_TOO_LARGE)

    def _read_trailer_line(self, line: bytes) -> None:
        if not line:
            self.finished = True
            return
        self._trailer_bytes += len(line)
        self._trailer_fields += 1
        too_much = self._trailer_fields > MAX_TRAILER_FIELDS or self._trailer_bytes > MAX_TRAILER_BYTES
        if too_much or _FIELD_LINES.fullmatch(line + b"\r\n") is None:
            raise WireError(Reason.MALFORMED_REQUEST)

    def _check_unfinished_line(self, line: bytes) -> None:
        """Refuse bytes that cannot become a valid line now, without waiting for the end of the line."""
        if self._after_data:
            limit = 1
        elif self._in_trailer:
            limit = MAX_TRAILER_BYTES + 1
        else:
            limit = MAX_CHUNK_LINE + 1
        # Only the last byte may be a carriage return, which a line feed must follow.
        if len(line) > limit or b"\n" in line or b"\r" in line[:-1] or (self._after_data and line != b"\r"):
            raise WireError(Reason.MALFORMED_REQUEST)
