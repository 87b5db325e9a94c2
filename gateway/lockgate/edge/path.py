"""The canonical path of a request: judged and forwarded in the same spelling (RFC 3986 section 6.2.2).

A path that two readers could take for two different resources is refused. Every accepted path has one spelling:
unreserved characters stand plain, every other percent-coding is upper case, characters that browsers and tools send
plain although RFC 3986 does not allow them are percent-coded, and one slash replaces several.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from lockgate.edge.wire import WireError
from lockgate.errors import Reason

# pchar of RFC 3986 section 3.3 and the slash.
_PLAIN: Final = re.compile(rb"/(?:[A-Za-z0-9\-._~!$&'()*+,=:@]++/?+)*+")
# Visible ASCII except the backslash, which browsers read as a slash, and the characters that end a path.
_SENDABLE: Final = re.compile(rb"/(?:[!-\"$&->@-\[\]-~]|%[0-9A-Fa-f]{2})*+")
_LEFT_PLAIN: Final = re.compile(rb"[\"<>\[\]^`{|}]")
"""Characters that the browsers' URL standard leaves plain in a path (`[ ] ^ |`), and that tools send as typed."""
_SLASHES: Final = re.compile(rb"/{2,}")
ENCODED_SLASH: Final = "%2F"
"""In a canonical path: an ordinary character on a route with `encoded_slashes`, refused on any other."""
_ENCODED_SLASH: Final = ENCODED_SLASH.encode("ascii")
_CODE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_CODED_PERCENT: Final = b"%25"
_MAX_CODINGS: Final = 4
_DOT_SEGMENT: Final = re.compile(rb"/\.{1,2}(?:/|;|\Z)")
_QUERY: Final = re.compile(rb"[\x21\x22\x24-\x7e]*")
ROOT: Final = "/"
SERVER_WIDE: Final = "*"
"""The target of an OPTIONS request about the whole server (RFC 9112 section 3.2.4)."""
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(/[^#]*)?", re.IGNORECASE)
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NEVER_CODED: Final = frozenset([*range(0x20), 0x7F, *b"\\"])
_NEVER_CODED_TWICE: Final = _NEVER_CODED | frozenset(b"/")


class Target(NamedTuple):
    """A parsed request target.

    Attributes:
        path: canonical; `*` where the request is about the whole server.
        query: as sent, without the question mark; `None` where the target has no question mark.
        authority: the host of an absolute-form target, which replaces the Host field (RFC 9112 section 3.2.2).
    """

    path: str
    query: str | None
    authority: bytes | None


def parse_target(raw: bytes, method: bytes = b"") -> Target:
    """Parse a request target and make its path canonical.

    Args:
        raw: the target as sent.
        method: the request's method; only OPTIONS may be about the whole server.

    Raises:
        WireError: neither origin-form nor absolute-form, or an unacceptable path or query.
    """
    authority = None
    if not raw.startswith(b"/"):
        if raw == b"*" and method == b"OPTIONS":
            return Target(SERVER_WIDE, None, None)
        match = _ABSOLUTE.fullmatch(raw)
        if match is None:
            raise WireError(Reason.BAD_TARGET)
        authority, raw = match[1], match[2] or b"/"
    path, mark, query = raw.partition(b"?")
    if mark and _QUERY.fullmatch(query) is None:
        raise WireError(Reason.BAD_TARGET)
    return Target(canonical_path(path), query.decode("ascii") if mark else None, authority)


def canonical_path(raw: bytes) -> str:
    """The one spelling of a path.

    Raises:
        WireError: dot segments in any spelling, coded backslashes or control characters, slashes coded twice, invalid
            percent-coding, invalid UTF-8 behind it, or a character that no path can hold.
    """
    if b"//" in raw:
        raw = _SLASHES.sub(b"/", raw)
    if _PLAIN.fullmatch(raw) is not None:
        path = raw
    elif _SENDABLE.fullmatch(raw) is not None:
        path = _CODE.sub(_normalize_code, _LEFT_PLAIN.sub(_percent_encode, raw))
        _check_utf8(path)
        # A service that decodes `%2F` sees a slash, so every check treats it as one.
        _check_segments(_decode_separators(path))
        if _CODED_PERCENT in path:
            _check_inner_codings(path)
    else:
        raise WireError(Reason.BAD_TARGET)
    _check_segments(path)
    return path.decode("ascii")


def _percent_encode(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def _decode_separators(path: bytes) -> bytes:
    """A path with its coded separators decoded, as a decoding service sees the segments."""
    return path.replace(b"%3B", b";").replace(_ENCODED_SLASH, b"/")


def _normalize_code(match: re.Match[bytes], never: frozenset[int] = _NEVER_CODED) -> bytes:
    octet = int(match[1], 16)
    if octet in never:
        raise WireError(Reason.BAD_TARGET)
    if octet in _UNRESERVED:
        return bytes([octet])
    return match[0].upper()


def _normalize_inner_code(match: re.Match[bytes]) -> bytes:
    return _normalize_code(match, _NEVER_CODED_TWICE)


def _check_segments(path: bytes) -> None:
    if (b"/." in path and _DOT_SEGMENT.search(path) is not None) or b"/;" in path:
        raise WireError(Reason.BAD_TARGET)


def _check_inner_codings(path: bytes) -> None:
    """Check the path that a service sees after decoding more than once: the same dangers are refused there."""
    for _ in range(_MAX_CODINGS):
        path = _CODE.sub(_normalize_inner_code, path.replace(_ENCODED_SLASH, b"/").replace(_CODED_PERCENT, b"%"))
        _check_segments(_decode_separators(path))
        if _CODED_PERCENT not in path:
            return
    raise WireError(Reason.BAD_TARGET)


def _check_utf8(path: bytes) -> None:
    try:
        _CODE.sub(lambda match: bytes([int(match[1], 16)]), path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(Reason.BAD_TARGET) from error
