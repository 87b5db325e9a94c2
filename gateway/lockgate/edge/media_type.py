"""A Content-Type as clients write it: the media type, and whether its text is UTF-8 (RFC 9110 section 8.3)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(
    rf"[ \t]*;[ \t]*(?:(?P<name>{_WORD})=(?:(?P<token>{_WORD})|\"(?P<quoted>(?:[^\"\\]|\\.)*)\"))?"
)
_UTF_8: Final = frozenset({"utf-8", "utf8", "us-ascii"})
"""Labels of UTF-8, the second one of the WHATWG's, and of a part of it; without case."""


class MediaType(NamedTuple):
    """What a Content-Type says.

    Attributes:
        kind: `type/subtype` in lower case; not checked.
        is_utf8: its text is UTF-8, or no charset is named. Two charsets are none that can be believed.
    """

    kind: str
    is_utf8: bool


def parse_media_type(field: str) -> MediaType:
    """Read the value of a Content-Type; parameters that do not matter are ignored, malformed ones are not UTF-8."""
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
