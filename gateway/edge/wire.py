"""The grammar of HTTP/1.1 messages, read strictly (RFC 9112). The same for clients and for services.

There is one spelling of each message here. Everything a lenient parser would repair (bare line feeds, folded lines,
blanks before a colon, several lengths) is refused, because two parsers that repair it differently are a way to smuggle
a request past one of them.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import Reason

_TOKEN_CHARACTERS = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
_TOKEN = re.compile(rb"[" + _TOKEN_CHARACTERS + rb"]+")
_REQUEST_LINE = re.compile(rb"([" + _TOKEN_CHARACTERS + rb"]++) ([\x21-\x7e]++) (HTTP/[0-9]\.[0-9])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?")
# Possessive quantifiers: nothing is tried twice, so the time is linear in the bytes.
_FIELD_LINES = re.compile(rb"(?:[" + _TOKEN_CHARACTERS + rb"]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")

END_OF_HEAD: Final = b"\r\n\r\n"
MAX_CHUNK_LINE: Final = 16 + 256
MAX_TRAILER_BYTES: Final = 4096

Field = tuple[bytes, bytes]
"""A field's lower-case name and its value without the blanks around it."""


class WireError(Exception):
    """The bytes are not a message that we accept; what the reason is, `reason` says."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


def request_line(line: bytes) -> tuple[bytes, bytes, bool]:
    """Method, request target, and whether it is HTTP/1.1 (otherwise it is 1.0).

    Raises:
        WireError: not a request line, or another version.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise WireError(Reason.MALFORMED_REQUEST)
    method, target, version = match.groups()
    if version == b"HTTP/1.1":
        return method, target, True
    if version == b"HTTP/1.0":
        return method, target, False
    raise WireError(Reason.UNKNOWN_VERSION)


def status_line(line: bytes) -> tuple[int, bool]:
    """Status code, and whether it is HTTP/1.1.

    Raises:
        WireError: not a status line.
    """
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise WireError(Reason.UPSTREAM_BROKE)
    return int(match[2]), match[1] == b"1"


def fields(block: bytes, *, max_fields: int, max_field_bytes: int) -> list[Field]:
    """Split the field lines of a head.

    Args:
        block: complete lines, each ended by CRLF, without the empty line after them.
        max_fields: how many there may be.
        max_field_bytes: how long each line may be.

    Raises:
        WireError: a line is not `name: value`, holds a control character or is folded; or there is too much of it.
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


def has_bare_line_feed(data: bytes | bytearray) -> bool:
    """Whether the bytes can no longer become a head: a line that does not end in CRLF."""
    return _BARE_LINE_FEED.search(data) is not None


def is_token(value: bytes) -> bool:
    """Whether it is a token (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(value) is not None


def content_length(values: list[bytes]) -> int | None:
    """The one Content-Length, if there is one (RFC 9112 section 6.3).

    Raises:
        WireError: there are several, equal ones too, or it is not plain digits.
    """
    if not values:
        return None
    if len(values) > 1 or _LENGTH.fullmatch(values[0]) is None:
        raise WireError(Reason.AMBIGUOUS_FRAMING)
    return int(values[0])


def is_chunked(values: list[bytes]) -> bool:
    """Whether the body is chunked (RFC 9112 section 6.1).

    Raises:
        WireError: Transfer-Encoding is anything other than one plain `chunked`.
    """
    if not values:
        return False
    if len(values) == 1 and values[0].lower() == b"chunked":
        return True
    if len(values) == 1 and is_token(values[0]):
        raise WireError(Reason.UNKNOWN_TRANSFER_CODING)
    raise WireError(Reason.AMBIGUOUS_FRAMING)


class ChunkedReader:
    """Takes a chunked body apart (RFC 9112 section 7.1). Extensions and trailer fields are checked and dropped.

    Attributes:
        finished: the last chunk and the trailer section were read.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0
        self._after_data = False
        self._in_trailer = False
        self._trailer_bytes = 0
        self.finished = False

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Read on.

        Returns:
            The pieces of body in the data, and what follows the body once it is finished (else nothing).

        Raises:
            WireError: the bytes are not chunks.
        """
        pieces: list[bytes] = []
        data = self._rest + data if self._rest else data
        self._rest = b""
        while data and not self.finished:
            if self._left:
                piece = data[: self._left]
                self._left -= len(piece)
                pieces.append(piece)
                data = data[len(piece) :]
                self._after_data = self._left == 0
            elif self._after_data:
                if len(data) < len(b"\r\n"):
                    if data != b"\r":
                        raise WireError(Reason.MALFORMED_REQUEST)
                    break
                if not data.startswith(b"\r\n"):
                    raise WireError(Reason.MALFORMED_REQUEST)
                data = data[2:]
                self._after_data = False
            else:
                line, end, after = data.partition(b"\r\n")
                if not end:
                    self._check_unfinished_line(data)
                    break
                data = after
                self._line(line)
        if not self.finished:
            self._rest = data
            return pieces, b""
        return pieces, data

    def _check_unfinished_line(self, data: bytes) -> None:
        limit = MAX_TRAILER_BYTES if self._in_trailer else MAX_CHUNK_LINE
        if len(data) > limit or b"\n" in data or (b"\r" in data[:-1]):
            raise WireError(Reason.MALFORMED_REQUEST)

    def _line(self, line: bytes) -> None:
        if not self._in_trailer:
            match = _CHUNK_LINE.fullmatch(line) if len(line) <= MAX_CHUNK_LINE else None
            if match is None:
                raise WireError(Reason.MALFORMED_REQUEST)
            self._left = int(match[1], 16)
            self._in_trailer = self._left == 0
            return
        if not line:
            self.finished = True
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > MAX_TRAILER_BYTES or _FIELD_LINES.fullmatch(line + b"\r\n") is None:
            raise WireError(Reason.MALFORMED_REQUEST)
