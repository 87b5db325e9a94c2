"""Parses a Content-Type: the media type, and whether its text is UTF-8 (RFC 9110 section 8.3)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(
    rf"[ \t]*;[ \t]*(?:(?P<name>{_WORD})=(?:(?P<token>{_WORD})|\"(?P<quoted>(?:[^\"\\]|\\.)*)\"))?"
)
_UTF_8: Final = frozenset({"utf-8", "utf8", "us-ascii"})
"""Labels of UTF-8 (`utf8` is the WHATWG's) and of its subset ASCII, in lower case."""


class MediaType(NamedTuple):
    """A parsed Content-Type.

    Attributes:
        kind: `type/subtype` in lower case; not checked.
        is_utf8: the charset is UTF-8, or none is named. A Content-Type with two charsets is not believed.
    """

    kind: str
    is_utf8: bool


def parse_media_type(field: str) -> MediaType:
    """Parse the value of a Content-Type. Other parameters are ignored; malformed parameters count as not UTF-8."""
    kind, semicolon, rest = field.strip(" \t").partition(";")
    charsets: list[str] = []
    place, parameters = 0, semicolon + rest
    while place < len(parameters):
        match = _PARAMETER.match(parameters, place)
        if match is None:
            return MediaType(kind.strip(" \t").lower(), is_utf8=False)
        place = match.end()
        # `charset*` is the same name with a charset of its own for the value (RFC 8187).
        if match["name"] is not None and match["name"].lower() in ("charset", "charset*"):
            quoted = match["quoted"]
            charsets.append(match["token"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
    is_utf8 = not charsets or (len(charsets) == 1 and charsets[0].lower() in _UTF_8)
    return MediaType(kind.strip(" \t").lower(), is_utf8)
